"""What the path asks of the side of a client, whichever server has it: our own or an ASGI one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sllm_actors.gateway.headers import Headers


class Client(Protocol):
    """The response to one request. No method waits, and none raises when the client has left.

    What is written while the client does not read is kept; the server then calls ``Exchange.pause``, and
    ``Exchange.resume`` when it may go on.

    Attributes:
        begun: Status and headers are sent.
        ended: The response is complete, or was cut off.
        added: Headers that are added to those of whoever answers; may be changed until the response begins.
    """

    begun: bool
    ended: bool
    added: Headers

    def begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Send status and headers.

        Args:
            status: The HTTP status.
            headers: Without those that concern the connection, and without ``content-length``.
            length: Bytes of the body that follows; None if that is not known yet.
        """

    def write(self, data: bytes) -> None:
        """Send a piece of the body; never an empty one."""

    def chunk_writer(self) -> Callable[[bytes], None] | None:
        """Return what sends pieces that are framed as ``http1.chunk`` does; None if this body is not so sent.

        To be asked for only once the response has begun.
        """

    def end(self, data: bytes = b"") -> None:
        """Send the last piece; the response is complete."""

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response: ``begin``, ``write`` and ``end`` in one."""

    def pause_reading(self) -> None:
        """Take no more of the request's body from the client until ``resume_reading``."""

    def resume_reading(self) -> None:
        """Take more again."""

    def leave_if_gone(self) -> None:
        """Look whether a client that is not read has left; if so, call ``RequestHandler.client_left``."""

    def cut_off(self) -> None:
        """Close the connection of a response that has begun and cannot be finished."""
