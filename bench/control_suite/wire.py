"""Frames between the head's process and the fleet's, over one unix socket.

A frame is a msgpack list: its kind, the node that it comes from or goes to, a number that joins an answer to
its question, and a body. Envelopes and replies in it are the bytes that the real transport would carry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import msgpack

READ = 16 * 1024
"""Bytes that are read at a time: between two reads other work of the loop has its turn."""

LARGEST = 64 * 2**20
"""Bytes of a frame at most."""


class Kind(IntEnum):
    """What a frame is."""

    TELL = 0
    ASK = 1
    REPLY = 2
    FAILURE = 3
    UP = 4  # to the head: the node has a link from now on; the body is its role and life
    LOST = 5  # to the head: its link is lost; the body says why
    READY = 6  # from the head: it takes frames
    BEGIN = 7  # to the head: forget what was measured so far
    MEASURE = 8  # to the head: answer with what was measured since then, as msgpack


Take = Callable[[int, str, int, bytes], None]
"""Takes a frame: kind, node, number, body. Must not block or raise."""


class Lane(asyncio.BufferedProtocol):
    """One end of the socket.

    Args:
        take: Called with each frame that comes.
        on_lost: Called once when the other end is gone.
    """

    def __init__(self, take: Take, on_lost: Callable[[], None]) -> None:
        self._take = take
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(READ)
        self._unpacker = msgpack.Unpacker(max_buffer_size=LARGEST)
        self._pack = msgpack.Packer().pack
        self._pending: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def send(self, kind: Kind, node: str, number: int = 0, body: bytes = b"") -> None:
        """Queue a frame; what is queued in one turn of the loop is one write. Nothing is sent to one gone."""
        if self._transport is None:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(self._pack((kind, node, number, body)))

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if self._transport is not None:
            self._transport.write(b"".join(pending))

    def close(self) -> None:
        """Hang up, without sending what is queued."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio

    def connection_made(self, transport: Any) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio.BufferedProtocol
        """See ``asyncio.BufferedProtocol``."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        self._unpacker.feed(memoryview(self._buffer)[:nbytes])
        for kind, node, number, body in self._unpacker:
            self._take(kind, node, number, body)
        if nbytes == READ and self._transport is not None:
            self._transport.pause_reading()  # more is there: uvloop would go on reading in this turn
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.BaseProtocol
        """See ``asyncio.BaseProtocol``."""
        self._transport = None
        self._on_lost()
