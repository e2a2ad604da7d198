"""A stream for tasks that read and write in turn: anyio's byte stream, over asyncio's callbacks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from .stream import TunnelStream


class TunnelByteStream(ByteStream, asyncio.Protocol):
    """The protocol of one ``TunnelStream``. One task may receive and one may send at a time.

    Attributes:
        error: Why the stream has ended before its time, once it has.
    """

    def __init__(self) -> None:
        self._stream: TunnelStream | None = None
        self._arrived: deque[bytes] = deque()
        self._changed = anyio.Event()
        self._writable = anyio.Event()
        self._writable.set()
        self._over = anyio.Event()
        self._ended = False
        self._closed = False
        self._lost = False
        self.error: Exception | None = None

    async def wait_lost(self) -> None:
        """Wait until the stream is over."""
        await self._over.wait()

    @property
    def transport(self) -> TunnelStream:
        """The stream."""
        assert self._stream is not None
        return self._stream

    # -- ByteStream --------------------------------------------------------------------------------

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes.

        Raises:
            anyio.EndOfStream: The other end has closed its side.
            anyio.BrokenResourceError: The stream was reset, its lane broke, or the peer is down: see its
                cause.
        """
        await anyio.lowlevel.checkpoint()
        while not self._arrived:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._ended:
                raise anyio.EndOfStream
            if self._lost:
                raise anyio.BrokenResourceError from self.error
            self.transport.resume_reading()
            self._changed = anyio.Event()
            await self._changed.wait()
        data = self._arrived.popleft()
        if len(data) > max_bytes:
            self._arrived.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        return data

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting while the other end does not read.

        Raises:
            anyio.BrokenResourceError: As ``receive``.
        """
        await anyio.lowlevel.checkpoint()
        await self._writable.wait()
        if self._closed:
            raise anyio.ClosedResourceError
        if self._lost:
            raise anyio.BrokenResourceError from self.error
        self.transport.write(item)
        await self._writable.wait()

    async def send_eof(self) -> None:
        """Close this side; the other end can still send."""
        self.transport.write_eof()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close both sides; what was sent is still delivered."""
        self._closed = True
        self._changed.set()
        self._writable.set()
        self.transport.close()
        await anyio.lowlevel.checkpoint()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """None."""
        return {}

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the stream."""
        assert isinstance(transport, TunnelStream)
        self._stream = transport

    def data_received(self, data: bytes) -> None:
        """Keep what comes until it is asked for, and take no more before that."""
        self._arrived.append(data)
        self.transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        """Note the end of what comes; this side stays open."""
        self._ended = True
        self._changed.set()
        return True

    def pause_writing(self) -> None:
        """Let ``send`` wait."""
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        """Let ``send`` go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._lost = True
        self.error = exc
        self._over.set()
        self._changed.set()
        self._writable.set()
