"""A chat with a model through the gateway, as any OpenAI client has it: answers are shown while they come."""

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
from .parameters import FiniteRange, WholeRange
from .terminal import say, saying_pieces

LAST_EVENT = "[DONE]"
"""The data of the event that ends a stream in OpenAI's API."""

Command = TypeVar("Command", bound=Callable[..., Any])


def dialogue_options(command: Command) -> Command:
    """Give a command the options ``--system``, ``--max-tokens`` and ``--temperature``."""
    for option in (
        click.option(
            "--temperature",
            type=FiniteRange(min=0),
            metavar="X",
            show_default="the model's own",
            help="0 gives the same answer each time.",
        ),
        click.option(
            "--max-tokens",
            type=WholeRange(min=1),
            metavar="N",
            show_default="no limit",
            help="Longest answer, in tokens.",
        ),
        click.option(
            "--system",
            metavar="TEXT",
            show_default="nothing",
            help="What the model is told before you speak.",
        ),
    ):
        command = option(command)
    return command


class Dialogue:
    """One conversation with one model.

    Args:
        client: The client of the gateway.
        model: The model's name, or a deployment's id.
        system: The system message of the conversation, or None.
        settings: Further fields of each request, as ``temperature``; those that are None are left out.
    """

    def __init__(
        self, client: GatewayClient, model: str, *, system: str | None, settings: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._model = model
        self._conversation = Conversation(system)
        self._settings = {key: value for key, value in settings.items() if value is not None}

    def check(self) -> None:
        """Make sure that the model is deployed, before a question is typed.

        Raises:
            CommandFailure: It is not deployed, or the gateway cannot be asked.
        """
        try:
            self._client.request("GET", path_of("v1/models", self._model))
        except RequestRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            sentence = f"no model {in_words(self._model)} is deployed: sllm ls lists what is there"
            raise CommandFailure(f"{sentence}, and sllm run deploys a model and chats with it") from None

    def ask(self, question: str) -> None:
        """Print the answer to a question while it comes. ^C stops it; what has come by then is the answer.

        Raises:
            CommandFailure: No answer came, or it broke off.
        """
        body = {
            "model": self._model,
            "messages": self._conversation.messages_with(question),
            "stream": True,
            **self._settings,
        }
        self._conversation.add(question, self._show_answer(body))

    def talk(self) -> None:
        """Ask what a person types, or else each line of standard input, until its end or the line ``/exit``.

        Raises:
            CommandFailure: A question failed, and asking another one is of no use: the input is no terminal,
                or the gateway refuses the key or the model.
        """
        with_person = sys.stdin.isatty()
        if with_person:
            # Importing it gives input() line editing and a history.
            import readline  # noqa: F401

            say(f"Chatting with {self._model}. ^C stops an answer, ^D or /exit ends.")
        while (line := _next_line(with_person)) is not None:
            if not line:
                continue
            try:
                self.ask(line)
            except CommandFailure as failure:
                # A wrong model or key fails every question alike. Any other failure costs only this question.
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
    """Return the next line, or None when the chat is to end."""
    try:
        line = input(">>> " if with_person else "").strip()
    except EOFError:
        if with_person:
            say()
        return None
    return None if line == "/exit" else sendable(line)


def sendable(text: str) -> str:
    """Return a text of the command line or a terminal with each byte that is not UTF-8 replaced by U+FFFD."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _texts(events: Iterator[str]) -> Iterator[str]:
    """Yield the pieces of text in a stream of chat completion chunks.

    Raises:
        CommandFailure: The stream has an error or something else than chunks in it, or ends without
            ``[DONE]``.
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
