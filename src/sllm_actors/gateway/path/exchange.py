"""One request and its response over a byte stream, in HTTP/1.1."""

from __future__ import annotations

from collections import deque

import anyio
import httptools
from anyio.abc import ByteStream
from attrs import frozen

from sllm_actors.gateway.headers import Headers, find

LARGEST_HEAD = 64 * 2**10
RECEIVE = 64 * 2**10


class EngineBroke(Exception):
    """The engine, or the way to it, ended what it should have finished; the text says how.

    Attributes:
        final: Another replica would do no better.
        unreached: A server that somebody else runs could not be reached: it has got nothing of the request.
    """

    def __init__(self, reason: str, *, final: bool = False, unreached: bool = False) -> None:
        super().__init__(reason)
        self.final = final
        self.unreached = unreached


class NoRoom(EngineBroke):
    """There was no room for a connection to the engine, on this node or on its worker: it is not to blame."""


@frozen
class ResponseHead:
    """How a response begins. Names of headers are in lower case."""

    status: int
    headers: Headers


class Exchange:
    """Call ``send``, then ``head``, then ``chunk`` until it returns nothing. The stream stays the caller's.

    Every method raises ``EngineBroke`` when the other side does not keep to the protocol or goes away.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers: Headers = []
        self._head: ResponseHead | None = None
        self._chunks: deque[bytes] = deque()
        self._complete = False
        self._received = 0

    async def send(self, method: str, target: str, headers: Headers, body: bytes) -> None:
        """Send the whole request. An engine that refuses it early may still have an answer: see ``head``."""
        lines = [f"{method} {target} HTTP/1.1\r\n".encode()]
        lines += [b"%b: %b\r\n" % header for header in headers]
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        if len(body) < RECEIVE:
            lines.append(body)
            body = b""
        try:
            await self._stream.send(b"".join(lines))
            if body:
                await self._stream.send(body)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return

    async def head(self) -> ResponseHead:
        """Return the head of the final response."""
        while self._head is None:
            if self._received > LARGEST_HEAD:
                raise EngineBroke(f"it sent over {LARGEST_HEAD} bytes of headers")
            await self._feed()
        return self._head

    async def chunk(self) -> bytes:
        """Return the next piece of the body as it came, or nothing at its end."""
        while not self._chunks:
            if self._complete:
                return b""
            await self._feed()
        if len(self._chunks) == 1:
            return self._chunks.popleft()
        piece = b"".join(self._chunks)
        self._chunks.clear()
        return piece

    async def _feed(self) -> None:
        try:
            data = await self._stream.receive(RECEIVE)
        except anyio.EndOfStream:
            self._end()
            return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise EngineBroke(f"its connection broke ({type(error).__name__})") from error
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                raise EngineBroke(f"what it sent is not HTTP ({error})") from None

    def _end(self) -> None:
        if self._head is None:
            raise EngineBroke("it closed the connection without an answer")
        has_length = find(self._head.headers, b"content-length") or find(
            self._head.headers, b"transfer-encoding"
        )
        if has_length and not self._complete:
            raise EngineBroke("it closed the connection in the middle of its answer")
        self._complete = True

    # ---- called by the parser

    def on_message_begin(self) -> None:
        """A response begins; there may be one that only says "continue" before the final one."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if self._head is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The end of the headers."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._head = ResponseHead(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its framing."""
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """The end of a response."""
        self._complete = self._head is not None
