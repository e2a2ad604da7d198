"""Clients of engines in a run: each says something on a stream, and checks what it hears and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

from sllm_actors.transport import TunnelStream
from sllm_actors.transport.streams.wire import STREAM_WINDOW

if TYPE_CHECKING:
    from .nodes import SimNode

PATTERN = bytes(range(251)) * (4 * STREAM_WINDOW // 251)


class Client(asyncio.Protocol):
    """One exchange with an engine that says again what it hears.

    Attributes:
        over: Set when the stream has ended.
        left: Whether this client has closed it before.
    """

    def __init__(self, node: SimNode, number: int, size: int) -> None:
        self.node = node
        self.number = number
        self.said = PATTERN[number % 251 :][:size]
        self.heard = 0
        self.ended = False
        self.left = False
        self.over = anyio.Event()

    def __str__(self) -> str:
        return f"the stream {self.number} of {self.node.name}"

    def wrong(self, text: str) -> None:
        self.node.violated("I13", f"{self}: {text}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TunnelStream)
        self.stream = transport
        half = len(self.said) // 2
        transport.write(self.said[:half])
        transport.write(self.said[half:])
        transport.write_eof()

    def data_received(self, data: bytes) -> None:
        if self.over.is_set() or self.ended or self.left:
            self.wrong("bytes came after its end")
        if self.said[self.heard : self.heard + len(data)] != data:
            self.wrong(f"other bytes came behind {self.heard} of {len(self.said)}")
        self.heard += len(data)
        if self.node.world.rng.random() < 0.2:
            self.stream.pause_reading()

    def eof_received(self) -> None:
        if self.heard != len(self.said):
            self.wrong(f"it ended behind {self.heard} bytes of {len(self.said)}")
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.over.is_set():
            self.wrong("it ended twice")
        if exc is None and not self.left and not self.ended:
            self.wrong("it ended in good order before its end")
        self.over.set()
        how = type(exc).__name__ if exc is not None else "left" if self.left else "used"
        self.node.world.ledger.counts[f"stream {how}"] += 1

    def leave(self, *, at_once: bool) -> None:
        """Want no more of it."""
        self.left = True
        if at_once:
            self.stream.abort()
        else:
            self.stream.close()
