"""What a client's connection asks of its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .handler import RequestHandler
from .request_head import RequestHead
from .response import Http1Response

if TYPE_CHECKING:
    from .connection import ClientConnection


class ServerSide(Protocol):
    """The server that has accepted a connection.

    Attributes:
        stopping: Whether connections are closed once their response is complete.
    """

    stopping: bool

    def opened(self, connection: ClientConnection) -> None:
        """A client has connected."""

    def closed(self, connection: ClientConnection) -> None:
        """The connection is lost."""

    def waits(self, connection: ClientConnection) -> None:
        """The connection waits for a request from now on."""

    def handle(
        self, head: RequestHead, response: Http1Response, connection: ClientConnection
    ) -> RequestHandler:
        """Begin to serve a request."""
