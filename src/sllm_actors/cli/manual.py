"""Commands whose ``--help`` is a page of a manual: after the options come examples, environment, exit status.

Each option says in brackets what holds where it is not given (click's ``show_default``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

ASKING: Final = ("LLM_SERVER_URL", "SLLM_API_KEY", "SLLM_DATA_DIR")
"""Variables of a command that asks a gateway."""

RUNNING: Final = ("SLLM_CLUSTER_SECRET", "SLLM_DATA_DIR")
"""Variables of a command that runs nodes."""

VARIABLES: Final[Mapping[str, str]] = {
    "LLM_SERVER_URL": "The gateway that is asked.  [default: http://127.0.0.1:8343]",
    "SLLM_API_KEY": "The key that the gateway gets.  [default: (on the gateway's own machine, what the file "
    "admin-key of the data directory holds)]",
    "SLLM_CLUSTER_SECRET": "The cluster secret itself, where no --secret-file names it.",
    "SLLM_DATA_DIR": "The data directory.  [default: sllm in XDG_DATA_HOME or ~/.local/share]",
    "SLLM_DATABASE_URL": "As --database-url.",
    "STORAGE_PATH": "As --storage-path.",
    "SLLM_DEBUG": "If set, a traceback is shown where sllm itself fails.",
}
"""What each environment variable is for."""

STATUSES: Final[Mapping[int, str]] = {
    0: "What was asked for happened.",
    1: "It did not: one sentence on standard error says why, and what to do.",
    2: "The command line is wrong.",
    130: "It was interrupted by ^C.",
}
"""What the exit statuses of a command mean that asks a gateway."""

NODE_STATUSES: Final[Mapping[int, str]] = {
    0: "It was stopped, by ^C or SIGTERM, and all that it ran has ended.",
    1: "It cannot run as it is set up: one sentence on standard error says why.",
    2: "The command line is wrong.",
}
"""What the exit statuses of a command mean that runs nodes."""


class ManualCommand(click.Command):
    """A command with a whole page of help.

    Args:
        examples: What an example does, and its command line, which may have several lines.
        variables: The environment variables that it reads: names of ``VARIABLES``.
        statuses: What each exit status means.
        attributes: Those of ``click.Command``.
    """

    def __init__(
        self,
        *arguments: Any,
        examples: Sequence[tuple[str, str]],
        variables: Sequence[str] = ASKING,
        statuses: Mapping[int, str] = STATUSES,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = tuple(examples)
        self.variables = (*variables, "SLLM_DEBUG")
        self.statuses = dict(statuses)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Examples"):
            for number, (purpose, command) in enumerate(self.examples):
                if number:
                    formatter.write_paragraph()
                formatter.write_text(f"{purpose}:")
                for line in command.splitlines():
                    formatter.write(f"{'':{formatter.current_indent + 2}}{line}\n")
        _write_end(formatter, self.variables, self.statuses)


class ManualGroup(click.Group):
    """A group of commands with a whole page of help.

    Args:
        sections: Titles, and the commands that are listed below each; None for one list of all.
        variables: As for ``ManualCommand``.
        attributes: Those of ``click.Group``.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[str]] | None = None,
        variables: Sequence[str] = ASKING,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.sections = dict(sections or {})
        self.variables = (*variables, "SLLM_DEBUG")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, names in (self.sections or {"Commands": sorted(self.commands)}).items():
            room = formatter.width - 6 - max(map(len, names))
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(room)) for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(f"{ctx.command_path} COMMAND --help describes a command.")
        _write_end(formatter, self.variables, STATUSES)


def _write_end(formatter: click.HelpFormatter, variables: Sequence[str], statuses: Mapping[int, str]) -> None:
    with formatter.section("Environment"):
        formatter.write_dl([(name, VARIABLES[name]) for name in variables])
    with formatter.section("Exit status"):
        formatter.write_dl([(str(status), meaning) for status, meaning in statuses.items()])
