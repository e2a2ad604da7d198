"""Where the body of a request goes that nobody serves: not yet, or not at all. Pure."""

from __future__ import annotations

from typing import Protocol

from attrs import define, field

from .handler import RequestHandler
from .request_head import RequestHead
from .response import Http1Response

LINGER_BYTES = 64 * 2**20
"""How much of the rest of a refused body is read and dropped."""


class Closable(Protocol):
    """The client's connection."""

    def close(self) -> None:
        """Close it once all that was written is sent."""

    def cut_off(self) -> None:
        """Close it at once."""


@define
class WaitingRequest:
    """A request that a client has sent before it has the whole response to the one before it."""

    head: RequestHead
    response: Http1Response
    _handler: RequestHandler | None = None
    _parts: list[bytes] = field(factory=list)
    _whole: bool = False

    def body(self, data: bytes) -> None:
        if self._handler is None:
            self._parts.append(data)
        else:
            self._handler.body(data)

    def body_ended(self) -> None:
        self._whole = True
        if self._handler is not None:
            self._handler.body_ended()

    def start(self, handler: RequestHandler) -> None:
        self._handler = handler
        for part in self._parts:
            handler.body(part)
        if self._whole:
            handler.body_ended()


@define
class Unwanted:
    """The rest of a body that nobody wants: the connection is closed at its end."""

    connection: Closable
    size: int = 0

    def body(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > LINGER_BYTES:
            self.connection.cut_off()

    def body_ended(self) -> None:
        self.connection.close()
