"""The response to one request over HTTP/1.1, as the hot path writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

from sllm_actors.gateway.headers import Headers

from .http1 import LAST_CHUNK, chunk, response_head


class ResponseWire(Protocol):
    """What a response needs of its client's connection."""

    def write(self, data: bytes) -> None:
        """Send bytes; nothing happens once the connection is closed."""

    def request_is_whole(self) -> bool:
        """Return whether all of the request has come."""

    def response_ended(self, *, keep_alive: bool) -> None:
        """The response is complete."""

    def pause_reading(self) -> None:
        """Read no more of the request until ``resume_reading``."""

    def resume_reading(self) -> None:
        """Read on."""

    def leave_if_gone(self) -> None:
        """Close the connection if the client has done so."""

    def cut_off(self) -> None:
        """Close the connection at once."""


class Http1Response:
    """See ``Client``. The date and the id of the request are added to the headers.

    Args:
        connection: The client's connection.
        request_id: Sent in the header ``X-Request-Id``.
        method: The request's method: the response to ``HEAD`` has no body.
        version: The request's version of HTTP, ``1.0`` or ``1.1``.
        keep_alive: Whether the connection may be kept for another request.

    Attributes:
        version: As above.
        keep_alive: As above; it may be changed until the response begins.
        added: Headers that are added to those of whoever answers.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_request_id",
        "_silent",
        "added",
        "begun",
        "ended",
        "keep_alive",
        "version",
    )

    def __init__(
        self, connection: ResponseWire, request_id: str, method: str, version: str, *, keep_alive: bool
    ) -> None:
        self.begun = self.ended = False
        self.added: Headers = []
        self._connection = connection
        self._request_id = request_id
        self.version = version
        self.keep_alive = keep_alive
        self._silent = method == "HEAD"
        self._chunked = False

    def begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        """See ``Client``."""
        self._connection.write(self._head(status, headers, length))

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """See ``Client``."""
        head = self._head(status, headers, len(body))
        self._connection.write(head if self._silent else head + body)
        self._finish()

    def write(self, data: bytes) -> None:
        """See ``Client``."""
        if not self._silent:
            self._connection.write(chunk(data) if self._chunked else data)

    def chunk_writer(self) -> Callable[[bytes], None] | None:
        """See ``Client``."""
        return self._connection.write if self._chunked else None

    def end(self, data: bytes = b"") -> None:
        """See ``Client``."""
        if self._chunked:
            self._connection.write(chunk(data) + LAST_CHUNK if data else LAST_CHUNK)
        elif data:
            self.write(data)
        self._finish()

    def pause_reading(self) -> None:
        """See ``Client``."""
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """See ``Client``."""
        self._connection.resume_reading()

    def leave_if_gone(self) -> None:
        """See ``Client``."""
        self._connection.leave_if_gone()

    def cut_off(self) -> None:
        """See ``Client``."""
        self.ended = True
        self._connection.cut_off()

    def _finish(self) -> None:
        self.ended = True
        self._connection.response_ended(keep_alive=self.keep_alive)

    def _head(self, status: int, headers: Headers, length: int | None) -> bytes:
        self.begun = True
        framing = b"x-request-id: %b\r\ndate: %b\r\n" % (self._request_id.encode(), _date())
        if status < 200 or status in (204, 304):
            self._silent = True
        elif length is not None:
            framing += b"content-length: %d\r\n" % length
        elif self.version == "1.1":
            self._chunked = not self._silent
            framing += b"transfer-encoding: chunked\r\n"
        else:
            self.keep_alive = False  # the end of the connection is the end of the body
        if not (self.keep_alive and self._connection.request_is_whole()):
            self.keep_alive = False
            framing += b"connection: close\r\n"
        elif self.version == "1.0":
            framing += b"connection: keep-alive\r\n"
        return response_head(status, headers + self.added if self.added else headers, framing)


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """Return the value of the header ``Date``, made once a second."""
    global _dated
    now = int(time.time())
    if now != _dated[0]:
        _dated = now, formatdate(now, usegmt=True).encode()
    return _dated[1]
