"""The program ``sllm``: all its commands, and the exit status for each way in which one ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import StringIO
from typing import NoReturn

import click

from sllm_actors import __version__
from sllm_actors.cli.commands.bench import bench
from sllm_actors.cli.commands.chat import chat
from sllm_actors.cli.commands.completion import completion
from sllm_actors.cli.commands.delete import delete
from sllm_actors.cli.commands.deploy import deploy
from sllm_actors.cli.commands.drain import drain, node, undrain
from sllm_actors.cli.commands.engines import engines
from sllm_actors.cli.commands.events import events
from sllm_actors.cli.commands.keys import keys
from sllm_actors.cli.commands.list import list_deployments, list_instances
from sllm_actors.cli.commands.loading import load, sleep, unload, wake
from sllm_actors.cli.commands.logs import logs
from sllm_actors.cli.commands.nodes import gateway, head, up, worker
from sllm_actors.cli.commands.pull import pull
from sllm_actors.cli.commands.run import run
from sllm_actors.cli.commands.status import status
from sllm_actors.cli.commands.update import update
from sllm_actors.nodes.user_paths import NoHome
from sllm_actors.observe.streams import close_standard_output, open_standard_streams

from .errors import EXIT_INTERRUPTED, CommandFailure
from .manual import ManualGroup
from .terminal import complain

SECTIONS = {
    "Run nodes": ("up", "head", "worker", "gateway"),
    "Deploy and use models": ("run", "deploy", "update", "delete", "rm", "chat"),
    "See what there is": ("status", "ls", "ps", "logs", "events", "bench"),
    "Load and unload by hand": ("load", "unload", "sleep", "wake", "pull"),
    "Look after machines": ("drain", "undrain", "uncordon", "node", "engines", "completion"),
    "Let others in": ("keys",),
}
"""How ``sllm --help`` lists the commands."""


@click.group(
    cls=ManualGroup,
    sections=SECTIONS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(__version__, prog_name="sllm")
def cli() -> None:
    """Serve many large language models on a few GPU machines, behind one OpenAI-compatible address."""


COMMANDS = (
    *(up, head, worker, gateway),
    *(run, deploy, update, delete, pull, status, logs, events, chat),
    *(load, unload, sleep, wake, drain, undrain, node, keys, engines, completion, bench),
)
ALIASES = {"ls": list_deployments, "ps": list_instances, "rm": delete, "uncordon": undrain}
"""Names that people know from other programs."""

for command in COMMANDS:
    cli.add_command(command)
for name, command in ALIASES.items():
    cli.add_command(command, name)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    The exit status is 0 when what was asked for happened, 1 when it did not or the output could not be
    written whole, 2 for a wrong command line and 130 after ^C. A traceback is shown only if SLLM_DEBUG is
    set.

    Args:
        arguments: The words of the command line after ``sllm``; None for those of this process.
    """
    open_standard_streams()
    code = _run(arguments)
    try:
        close_standard_output()
    except BrokenPipeError:
        code = code or 1
    except OSError as error:
        code = code or 1
        CommandFailure(f"standard output cannot be written: {error.strerror or error}").show()
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """Run one command, say on standard error what went wrong, and return the exit status."""
    try:
        result = cli.main(arguments, prog_name="sllm", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        said = StringIO()
        error.show(said)
        complain(said.getvalue().removesuffix("\n"))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 1  # the reader of our output (head, less) has seen enough
    except NoHome as error:
        CommandFailure(str(error)).show()
        return 1
    except OSError as error:
        if not _is_output_lost():
            CommandFailure(str(error)).show()
        return 1
    except Exception as error:  # noqa: BLE001 - the edge of the program: a person reads what comes out of it
        if os.environ.get("SLLM_DEBUG"):
            complain(traceback.format_exc())
        CommandFailure(
            f"sllm itself failed, {type(error).__name__}: {error} (SLLM_DEBUG=1 shows where)"
        ).show()
        return 1


def _is_output_lost() -> bool:
    """Say whether standard output is what fails: then its buffer is not empty, and flushing fails again."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False
