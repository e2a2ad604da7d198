"""What tunnels of a run lead to: an engine that says again what it hears."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream


class Echo(ByteStream):
    """One connection of an engine.

    Attributes:
        closed: Whoever asked is gone, as far as the engine was told.
    """

    def __init__(self) -> None:
        self.closed = False
        self._said = bytearray()
        self._ended = False
        self._more = anyio.Event()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._said:
            if self._ended:
                raise anyio.EndOfStream
            self._more = anyio.Event()
            await self._more.wait()
        data = bytes(self._said[:max_bytes])
        del self._said[:max_bytes]
        return data

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self._said += item
        self._more.set()

    async def send_eof(self) -> None:
        self._ended = True
        self._more.set()

    async def aclose(self) -> None:
        self.closed = True
