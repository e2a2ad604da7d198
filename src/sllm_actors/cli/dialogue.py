"""Talking to a model through the gateway, as any OpenAI client would: answers are shown while they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import click

from .client import GatewayClient, path_of
from .conversation import Conversation
from .errors import CommandFailure, RequestRefused
from .lookup import in_words
from .parameters import FiniteRange
from .terminal import say, saying_pieces

LAST_EVENT = "[DONE]"

Command = TypeVar("Command", bound=Callable[..., Any])


def dialogue_options(command: Command) -> Command:
    """Give a command the options of a dialogue."""
    for option in (
        click.option("--temperature", type=FiniteRange(min=0), help="0 gives the same answer each time."),
        click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens."),
        click.option("--system", metavar="TEXT", help="What the model is told before you speak."),
    ):
        command = option(command)
    return command


class Dialogue:
    """One conversation with one model.

    Args:
        client: The gateway.
        model: The model's name, or a deployment's id.
        system: What the model is told first, always.
        settings: Fields of each request; those that are None are left out.
    """

    def __init__(
        self, client: GatewayClient, model: str, *, system: str | None, settings: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._model = model
        self._conversation = Conversation(system)
        self._settings = {key: value for key, value in settings.items() if value is not None}

    def check(self) -> None:
        """Make sure that there is such a model, before anybody thinks of a question.

        Raises:
            CommandFailure: There is none, or the gateway does not say.
        """
        try:
            self._client.request("GET", path_of("v1/models", self._model))
        except RequestRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            sentence = f"no model {in_words(self._model)} is deployed: sllm ls lists what is there"
            raise CommandFailure(f"{sentence}, and sllm run deploys a model and chats with it") from None

    def ask(self, question: str) -> None:
        """Print the answer to a question while it comes. ^C ends it: what has come by then is the answer.

        Raises:
            CommandFailure: There is none, or not all of it.
        """
        body = {
            "model": self._model,
            "messages": self._conversation.messages_with(question),
            "stream": True,
            **self._settings,
        }
        self._conversation.add(question, self._show_answer(body))

    def talk(self) -> None:
        """Ask what a person types, or each line of the input, until it ends.

        Raises:
            CommandFailure: A question failed, and there is no person who could ask another one.
        """
        with_person = sys.stdin.isatty()
        if with_person:
            # Line editing and a history of what was typed, for input().
            import readline  # noqa: F401

            say(f"Chatting with {self._model}. ^C stops an answer, ^D or /exit ends.")
        while (line := _next_line(with_person)) is not None:
            if not line:
                continue
            try:
                self.ask(line)
            except CommandFailure as failure:
                # A wrong model or key will not get better; anything else may, and costs this question only.
                hopeless = isinstance(failure, RequestRefused) and failure.status in (401, 403, 404)
                if hopeless or not with_person:
                    raise
                failure.show()

    def _show_answer(self, body: dict[str, Any]) -> str:
        parts: list[str] = []
        try:
            with saying_pieces() as say_piece, self._client.events("/v1/chat/completions", body) as events:
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


def _next_line(with_person: bool) -> str | None:
    """Return what the user says next, or None when they have ended the chat."""
    try:
        line = input(">>> " if with_person else "").strip()
    except EOFError:
        if with_person:
            say()
        return None
    return None if line == "/exit" else sendable(line)


def sendable(text: str) -> str:
    """Return what can be sent of a text that the system gave: bytes that are none in it become U+FFFD."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


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
