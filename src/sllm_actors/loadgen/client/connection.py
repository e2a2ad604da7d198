"""One connection to the server: HTTP/1.1, one request at a time, kept for the next one."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol, cast

import httptools

from sllm_actors.loadgen.work.request import LoadRequest

from .answer import AnswerReader
from .server_timing import HEADER


class UnderWay:
    """A request that has been begun. Times are those of ``time.monotonic``."""

    __slots__ = ("begun", "connection", "data", "due", "leaving", "reader", "request", "sent")

    def __init__(
        self, request: LoadRequest, data: bytes, *, due: float, begun: float, reader: AnswerReader
    ) -> None:
        self.request = request
        self.data = data
        self.due = due
        self.begun = begun
        self.reader = reader
        self.sent: float | None = None
        self.connection: LoadConnection | None = None
        self.leaving: asyncio.TimerHandle | None = None


class ConnectionOwner(Protocol):
    """Who is told what happens on a connection."""

    def answered(self, connection: LoadConnection, under_way: UnderWay, status: int) -> None:
        """Take a whole answer."""

    def broken(self, connection: LoadConnection, under_way: UnderWay | None, reason: str) -> None:
        """Take that the connection is lost, and with which request."""


class LoadConnection(asyncio.Protocol):
    """A connection.

    Args:
        owner: Who is told what happens.

    Attributes:
        idle_since: When its last answer had come.
        status: The status of the answer that is under way; 0 before it has come.
    """

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._under_way: UnderWay | None = None
        self._now = 0.0
        self.idle_since = 0.0
        self.status = 0
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class

    def send(self, under_way: UnderWay) -> None:
        """Send a request; nothing else may be under way."""
        assert self._transport is not None
        self._under_way, self.status = under_way, 0
        under_way.connection = self
        under_way.sent = monotonic()
        self._transport.write(under_way.data)

    def abort(self) -> None:
        """Hang up. The owner is not told."""
        self.closing = True
        self._under_way = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._now = monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._break("the answer is no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closing:
            self._break((exc and exc.__class__.__name__) or "the server closed the connection")

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == len(HEADER) and name.lower() == HEADER and self._under_way is not None:
            self._under_way.reader.take_hold(value)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self._under_way is not None:
            self._under_way.reader.feed(self.status, data, self._now)

    def on_message_complete(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is None or self.status < 200:
            self._under_way = under_way  # 100 Continue, 103 Early Hints: the answer is still to come
            return
        self.idle_since = self._now
        if not self._parser.should_keep_alive():
            self.closing = True
            assert self._transport is not None
            self._transport.close()
        self._owner.answered(self, under_way, self.status)

    def _break(self, reason: str) -> None:
        under_way = self._under_way
        self.abort()
        self._owner.broken(self, under_way, reason)
