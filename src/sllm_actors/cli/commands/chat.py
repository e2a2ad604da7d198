"""``sllm chat``: talk to a model through the gateway, as any OpenAI client would."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from sllm_actors.cli.client import GatewayClient
from sllm_actors.cli.conversation import Conversation
from sllm_actors.cli.errors import CommandFailure, RequestRefused
from sllm_actors.cli.parameters import FiniteRange
from sllm_actors.cli.terminal import say, saying_pieces

LAST_EVENT = "[DONE]"


@click.command()
@click.argument("model")
@click.option("--system", metavar="TEXT", help="What the model is told before you speak.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--temperature", type=FiniteRange(min=0), help="0 gives the same answer each time.")
def chat(*, model: str, system: str | None, max_tokens: int | None, temperature: float | None) -> None:
    """Chat with a model: it sees the whole conversation.

    ^C stops an answer; ^D or /exit ends the chat. Lines can also come from a pipe.
    """
    options = {"max_tokens": max_tokens, "temperature": temperature}
    settings = {key: value for key, value in options.items() if value is not None}
    conversation = Conversation(system)
    with_person = sys.stdin.isatty()
    if with_person:
        # Line editing and a history of what was typed, for input().
        import readline  # noqa: F401

        say(f"Chatting with {model}. ^C stops an answer, ^D or /exit ends.")
    with GatewayClient() as client:
        while (line := _next_line(with_person)) is not None:
            if not line:
                continue
            body = {
                "model": model,
                "messages": conversation.messages_with(line),
                "stream": True,
                **settings,
            }
            try:
                answer = _show_answer(client, body)
            except CommandFailure as failure:
                # A wrong model or key will not get better; anything else may, and costs this question only.
                hopeless = isinstance(failure, RequestRefused) and failure.status in (401, 403, 404)
                if hopeless or not with_person:
                    raise
                failure.show()
            else:
                conversation.add(line, answer)


def _next_line(with_person: bool) -> str | None:
    """Return what the user says next, or None when they have ended the chat."""
    try:
        line = input(">>> " if with_person else "").strip()
    except EOFError:
        if with_person:
            say()
        return None
    # Bytes that the stream's encoding does not know come as surrogates; what is no text cannot be sent on.
    return None if line == "/exit" else line.encode(errors="surrogateescape").decode(errors="replace")


def _show_answer(client: GatewayClient, body: dict[str, Any]) -> str:
    """Print an answer while it comes, and return it. ^C ends it: what has come by then is the answer."""
    parts: list[str] = []
    try:
        with saying_pieces() as say_piece, client.events("/v1/chat/completions", body) as events:
            for text in _texts(events):
                parts.append(text)
                say_piece(text)
    except KeyboardInterrupt:
        say(" [stopped]")
    except BaseException:
        say()
        raise
    else:
        say()
    return "".join(parts)


def _texts(events: Iterator[str]) -> Iterator[str]:
    """Yield the pieces of text in a stream of chat completion chunks.

    Raises:
        CommandFailure: The stream carries an error, something else than chunks, or ends before it says so.
    """
    for data in events:
        if data == LAST_EVENT:
            return
        try:
            chunk = json.loads(data)
            error = chunk.get("error")
            text = None if error or not chunk["choices"] else chunk["choices"][0]["delta"].get("content")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise CommandFailure("the answer is not a stream of chat completion chunks") from None
        if error:
            message = error.get("message") if isinstance(error, dict) else error
            raise CommandFailure(f"the answer broke off: {message}")
        if text:
            yield text
    raise CommandFailure("the answer broke off: the connection ended in the middle")
