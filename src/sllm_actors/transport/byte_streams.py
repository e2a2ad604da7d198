"""Byte streams over a connection from which something else has been read before."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from .errors import RemoteProtocolError
from .settings import CHUNK

_LENGTH: Final = struct.Struct("!I")


class RestStream(ByteStream):
    """A connection of which some bytes have been read already: they come first.

    Args:
        stream: Owned by this one.
        rest: The bytes that have been read already.
    """

    def __init__(self, stream: ByteStream, rest: bytes) -> None:
        self._stream = stream
        self._rest = rest

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes."""
        if not self._rest:
            return await self._stream.receive(max_bytes)
        await anyio.lowlevel.checkpoint()
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting while the other end does not read."""
        await self._stream.send(item)

    async def send_eof(self) -> None:
        """Close this side; the other end can still send."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The extra attributes of the connection."""
        return self._stream.extra_attributes


class ChunkedStream(RestStream):
    """A connection that cannot be half-closed (TLS): bytes travel in chunks, and an empty one ends a
    direction.

    A chunk is ``length (4 bytes, big endian) | bytes``, at most ``CHUNK`` long. A connection that ends
    without the empty chunk was broken, not closed: nobody can cut a TLS tunnel short without being noticed.
    """

    def __init__(self, stream: ByteStream, rest: bytes) -> None:
        super().__init__(stream, rest)
        self._open = 0
        self._ended = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes.

        Raises:
            anyio.EndOfStream: The other end has closed its side.
            anyio.BrokenResourceError: The connection ended without that.
        """
        if self._ended:
            raise anyio.EndOfStream
        if not self._open:
            (self._open,) = _LENGTH.unpack(await self._exactly(_LENGTH.size))
            if self._open > CHUNK:
                raise anyio.BrokenResourceError from RemoteProtocolError("a tunnel's chunk is too long")
            if not self._open:
                self._ended = True
                raise anyio.EndOfStream
        data = await self._some(min(self._open, max_bytes))
        self._open -= len(data)
        return data

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting while the other end does not read."""
        for at in range(0, len(item), CHUNK):
            chunk = item[at : at + CHUNK]
            await self._stream.send(_LENGTH.pack(len(chunk)) + chunk)

    async def send_eof(self) -> None:
        """Close this side; the other end can still send."""
        await self._stream.send(_LENGTH.pack(0))

    async def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await self._some(count - len(data))
        return data

    async def _some(self, at_most: int) -> bytes:
        try:
            return await super().receive(at_most)
        except anyio.EndOfStream as error:
            raise anyio.BrokenResourceError from error
