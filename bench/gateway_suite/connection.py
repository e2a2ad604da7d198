"""A client's connection that costs next to nothing: one request, sent over and over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import cast

import httptools

END = b"[DONE]"
TAIL = 24
"""Bytes of a stream that are kept to see whether it ended as it should."""


class Connection(asyncio.Protocol):
    """Sends the same request again whenever it is told to, and times the answers.

    Args:
        request: The whole request.
        streamed: Whether the answer is a stream of events, which must end with ``[DONE]``.
        on_answer: Called with the connection when an answer is complete.

    Attributes:
        began: When the request was sent.
        first: When the first byte of its answer's body came; 0 before that.
        events: Events of the answer so far.
        total_events: Of all answers together.
        begun: Done when the first byte of an answer's body has come, or the connection is lost before.
        closed: Done when the connection is lost.
    """

    def __init__(self, request: bytes, *, streamed: bool, on_answer: Callable[[Connection], None]) -> None:
        self._request = request
        self._on_answer = on_answer
        self._streamed = streamed
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(_Streamed(self) if streamed else _Plain(self))
        self._tail = b""
        self.under_way = False
        self.began = self.first = 0.0
        self.events = self.total_events = 0
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of that class
        self.send()

    def send(self) -> None:
        """Send the request (again)."""
        assert self._transport is not None
        self.under_way, self.first, self.events, self._tail = True, 0.0, 0, b""
        self.began = perf_counter()
        self._transport.write(self._request)

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        for each in (self.begun, self.closed):
            if not each.done():
                each.set_result(None)

    @property
    def good(self) -> bool:
        """Whether the answer that has just come to its end is one: 200, and whole."""
        return self._parser.get_status_code() == 200 and (not self._streamed or END in self._tail)

    def body(self, data: bytes) -> None:
        """Take a piece of a stream."""
        if not self.first:
            self.first = perf_counter()
            if not self.begun.done():
                self.begun.set_result(None)
        # An event may end at the seam of two pieces.
        found = data.count(b"\n\n") + (self._tail[-1:] == b"\n" and data[:1] == b"\n")
        self.events += found
        self.total_events += found
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]

    def complete(self) -> None:
        """Take the end of an answer."""
        self.under_way = False
        self._on_answer(self)


class _Plain:
    """The parser's callbacks for an answer of which only the end counts."""

    def __init__(self, connection: Connection) -> None:
        self.on_message_complete = connection.complete


class _Streamed:
    def __init__(self, connection: Connection) -> None:
        self.on_body = connection.body
        self.on_message_complete = connection.complete
