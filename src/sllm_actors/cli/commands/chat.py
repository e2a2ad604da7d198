"""``sllm chat``: chat with a model that is deployed."""

from __future__ import annotations

import click

from sllm_actors.cli import completing
from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.dialogue import Dialogue, dialogue_options
from sllm_actors.cli.manual import ManualCommand
from sllm_actors.cli.parameters import NAME


@click.command(
    cls=ManualCommand,
    short_help="Chat with a model that is deployed.",
    examples=[
        ("Chat at the terminal", "sllm chat qwen --system 'You are brief.'"),
        (
            "Answer each line of a file, the same way each time",
            "sllm chat qwen --temperature 0 <questions.txt",
        ),
    ],
)
@click.argument("model", type=NAME, shell_complete=completing.models)
@dialogue_options
def chat(*, model: str, system: str | None, max_tokens: int | None, temperature: float | None) -> None:
    """Chat with a model: it sees the whole conversation.

    MODEL is a deployed model or a deployment's id; sllm run deploys what is not there yet. ^C stops an
    answer; ^D or /exit ends the chat. Lines can also come from a pipe.
    """
    settings = {"max_tokens": max_tokens, "temperature": temperature}
    with GatewayClient() as client:
        dialogue = Dialogue(client, model, system=system, settings=settings)
        dialogue.check()
        dialogue.talk()
