"""Joins a stream with what its request names: an engine's socket, or any byte stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, cast

import anyio
from anyio.abc import ByteStream

from sllm_actors.transport.tcp_stream import TcpStream

from .byte_stream import TunnelByteStream
from .stream import TunnelStream

Target: TypeAlias = ByteStream | socket.socket
"""What a request names: a connected socket (the cheaper one), or a byte stream."""

SPLICE_SIZE = 64 * 1024

BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Splice(asyncio.Protocol):
    """One end of two that are joined: what comes at one goes out at the other, ends and pauses too.

    Attributes:
        here: This end.
        early: What this end has heard before there was another.
    """

    def __init__(self) -> None:
        self.here: asyncio.Transport | None = None
        self._other: Splice | None = None
        self.early: list[Callable[[], object]] = []

    def join(self, other: Splice) -> None:
        """Join two ends, before the first byte."""
        self._other, other._other = other, self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take this end, and what the other one has heard before."""
        self.here = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self._other is not None:
            early, self._other.early = self._other.early, []
            for call in early:
                call()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        other = self._there
        if other is None:
            self.early.append(partial(self.data_received, data))
        else:
            other.write(data)

    def eof_received(self) -> bool:
        """Pass the end of one direction on; the other one goes on."""
        other = self._there
        if other is None:
            self.early.append(self.eof_received)
        elif not other.is_closing():
            other.write_eof()
        return True

    def pause_writing(self) -> None:
        """Let the other end read no more."""
        if self._there is not None and not self._there.is_closing():
            self._there.pause_reading()

    def resume_writing(self) -> None:
        """Let the other end read again."""
        if self._there is not None and not self._there.is_closing():
            self._there.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other end too: behind what was written after an orderly end, else at once."""
        other = self._there
        if other is None:
            self.early.append(partial(self.connection_lost, exc))
        elif exc is None:
            other.close()
        elif isinstance(other, TunnelStream):
            other.reset(f"what it leads to was lost: {str(exc) or type(exc).__name__}")
        else:
            other.abort()

    @property
    def _there(self) -> asyncio.Transport | None:
        return self._other.here if self._other is not None else None


async def splice(stream: TunnelStream, target: Target) -> None:
    """Accept a stream and join it with its target, which belongs to the stream from now on.

    On asyncio with a socket this returns at once, and callbacks of the event loop carry the bytes. Otherwise
    it carries them itself, until both directions have ended or one end is lost.
    """
    if isinstance(target, socket.socket):
        if await _attach(stream, target):
            return
        target = TcpStream(target)
    channel = TunnelByteStream()
    try:
        if stream.begin(channel):
            await _carry(channel, target)
    except* BROKEN:
        stream.reset("what it leads to was lost")
    finally:
        stream.close()
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(target)


async def _carry(channel: TunnelByteStream, target: ByteStream) -> None:
    """Carry bytes both ways until both have ended, or the far end has left and all it said was passed on.

    An orderly end of one side is passed on while the other direction goes on.

    Raises:
        ExceptionGroup: One side was reset.
    """
    passed_on = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def back() -> None:
            await _one_way(target, channel)
            await passed_on.wait()
            tasks.cancel_scope.cancel()

        async def watch() -> None:
            await channel.wait_lost()
            await passed_on.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(back)
        tasks.start_soon(watch)
        await _one_way(channel, target)
        passed_on.set()


async def _one_way(source: ByteStream, sink: ByteStream) -> None:
    try:
        while True:
            await sink.send(await source.receive(SPLICE_SIZE))
    except anyio.EndOfStream:
        with contextlib.suppress(*BROKEN):
            await sink.send_eof()


async def _attach(stream: TunnelStream, raw: socket.socket) -> bool:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    near, far = Splice(), Splice()
    near.join(far)
    raw.setblocking(False)
    try:
        if raw.family == socket.AF_UNIX:
            engine, _ = await loop.create_unix_connection(lambda: far, sock=raw)
        else:
            engine, _ = await loop.create_connection(lambda: far, sock=raw)
    except BaseException:
        raw.close()
        raise
    if not stream.begin(near):
        engine.abort()
    return True
