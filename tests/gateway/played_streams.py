"""Plays the streams of tunnels: each leads to an engine on a port of this machine."""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import define, field


@define(eq=False)
class PlayedStream(asyncio.Protocol):
    """A stream that is written to before it is known whether the other side accepts it."""

    protocol: Any
    transport: asyncio.Transport | None = None
    closing: bool = False
    early: list[bytes] = field(factory=list)

    async def connect(self, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        except OSError as error:
            self.protocol.connection_lost(error)

    def refuse(self, error: Exception) -> None:
        self.closing = True
        self.protocol.connection_lost(error)

    # ---- as the gateway uses it

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self.early.append(data)
        else:
            self.transport.write(data)

    def abort(self) -> None:
        self.closing = True
        if self.transport is not None:
            self.transport.abort()

    def is_closing(self) -> bool:
        return self.closing or (self.transport is not None and self.transport.is_closing())

    def pause_reading(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None:
            self.transport.resume_reading()

    # ---- as its socket uses it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        if self.closing:
            transport.abort()
        for data in self.early:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.protocol.connection_lost(error)
