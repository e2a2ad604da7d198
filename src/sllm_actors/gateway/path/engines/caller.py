"""What a connection to an engine asks of whoever sends a request over it."""

from __future__ import annotations

from typing import Protocol

from sllm_actors.gateway.headers import Headers

from .answer_head import AnswerHead
from .broke import EngineBroke


class Caller(Protocol):
    """Whoever has sent a request over a connection. Calls come in the order of the answer's bytes.

    After ``answer_came``, ``answer_ended`` or ``answer_broken``, and after the caller's own
    ``EngineConnection.abort``, there are no more.
    """

    def answer_came(self, head: AnswerHead, body: bytes) -> None:
        """The whole response has come at once: ``answer_began``, ``…_continued`` and ``…_ended`` in one."""

    def answer_began(self, status: int, headers: Headers) -> None:
        """The head of the final response has come; names of headers are in lower case."""

    def answer_continued(self, data: bytes) -> None:
        """A piece of the body has come, without the framing of chunks; never an empty one."""

    def answer_ended(self) -> None:
        """The response is complete."""

    def answer_broken(self, broke: EngineBroke) -> None:
        """The engine does not keep to HTTP/1.1, or has gone away."""


class BodySource(Protocol):
    """Whoever sends the body of a request in pieces."""

    def more(self) -> None:
        """The connection takes more now."""

    def stop(self) -> None:
        """It takes nothing more: the answer is complete, or the connection is lost."""
