"""A byte stream over a connection from which something has been read before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream


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
