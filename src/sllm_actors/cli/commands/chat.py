"""``sllm chat``: chat with a model that is deployed."""

from __future__ import annotations

import click

from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.dialogue import Dialogue, dialogue_options
from sllm_actors.cli.parameters import NAME


@click.command()
@click.argument("model", type=NAME)
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
