"""One HTTP/1.1 request to an engine and its response, over a byte stream."""

from __future__ import annotations

from collections import deque

import anyio
import httptools
from anyio.abc import ByteStream
from attrs import frozen

from sllm_actors.gateway.headers import Headers, find

LARGEST_HEAD = 64 * 2**10
"""Bytes that may come before the head of the response is complete."""

RECEIVE = 64 * 2**10
"""Bytes that are read at a time. A request's body below this size is sent in one piece with its head."""


class EngineBroke(Exception):
    """The engine, or the connection to it, failed before the answer was complete; the text says how.

    Attributes:
        final: Whether another replica would do no better, so that the request must not be tried on one.
        unreached: Whether an external server could not be reached: it has got nothing of the request.
    """

    def __init__(self, reason: str, *, final: bool = False, unreached: bool = False) -> None:
        super().__init__(reason)
        self.final = final
        self.unreached = unreached


class NoRoom(EngineBroke):
    """This node, or the worker's, has no room for a connection to the engine, which is not to blame."""


@frozen
class ResponseHead:
    """The status and headers of a response; names of headers are in lower case."""

    status: int
    headers: Headers


class Exchange:
    """One request and its response. Call ``send``, then ``head``, then ``chunk`` until it returns ``b""``.

    ``head`` and ``chunk`` raise ``EngineBroke`` when the engine does not keep to HTTP/1.1 or goes away. No
    method has a time limit. The caller closes the stream.

    Args:
        stream: A connection to the engine that nothing else uses.
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
        """Send the whole request.

        A connection that breaks meanwhile raises nothing here: an engine may refuse a request and close
        before it has read all of it, and ``head`` then returns that answer, or raises.

        Args:
            method: The HTTP method.
            target: Path and query.
            headers: All headers but ``content-length``, which is added.
            body: The whole body.
        """
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
        """Return the head of the final response, after any interim one (status 1xx).

        Raises:
            EngineBroke: See the class; also, no head was complete after ``LARGEST_HEAD`` bytes.
        """
        while self._head is None:
            if self._received > LARGEST_HEAD:
                raise EngineBroke(f"it sent over {LARGEST_HEAD} bytes of headers")
            await self._feed()
        return self._head

    async def chunk(self) -> bytes:
        """Return the next piece of the body, of any size, or ``b""`` at its end.

        Raises:
            EngineBroke: See the class.
        """
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
            if not self._complete:  # what comes after a complete answer is nobody's concern
                raise EngineBroke(f"what it sent is not HTTP ({error})") from None

    def _end(self) -> None:
        if self._head is None:
            raise EngineBroke("it closed the connection without an answer")
        # Without either header, the body is whatever comes until the connection is closed.
        has_length = find(self._head.headers, b"content-length") or find(
            self._head.headers, b"transfer-encoding"
        )
        if has_length and not self._complete:
            raise EngineBroke("it closed the connection in the middle of its answer")
        self._complete = True

    # ---- callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a response: an interim one (status 1xx), or the final one after it."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that comes after the body (a trailer) is dropped."""
        if self._head is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take note that all headers of a response have come."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._head = ResponseHead(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body, without the framing of chunks."""
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Take note that a response has ended; only the final one counts."""
        self._complete = self._head is not None
