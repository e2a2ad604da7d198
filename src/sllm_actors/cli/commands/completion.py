"""``sllm completion``: the script that lets a shell complete the command line of ``sllm``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.terminal import say

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_SLLM_COMPLETE"
"""Set by the script when it asks ``sllm`` what may follow."""


@click.command(
    cls=ManualCommand,
    short_help="Print the script that completes commands in a shell.",
    variables=(),
    examples=[
        (
            "Complete in this bash, and in each that is started from now on",
            "source <(sllm completion bash)\necho 'source <(sllm completion bash)' >>~/.bashrc",
        ),
        ("In zsh, behind compinit", "echo 'source <(sllm completion zsh)' >>~/.zshrc"),
        ("In fish", "sllm completion fish >~/.config/fish/completions/sllm.fish"),
    ],
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which bash, zsh or fish completes commands, options and names.

    Names of models and workers are asked of the gateway, which has a second for its answer.
    """
    program = context.find_root()
    found = get_completion_class(shell)
    assert found is not None
    say(found(program.command, {}, program.info_name or "sllm", VARIABLE).source())
