"""A network between two nodes that can be cut, stopped and restored."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketListener, SocketStream
from attrs import define, field

from sllm_actors.transport.sockets import reset

from .kit import listening_socket


@define(eq=False)
class Proxy:
    """Carries bytes from its port to a target.

    Attributes:
        connections: Of each, the scope that ends it.
        flowing: Cleared while nothing gets through (a black hole: nobody is told).
        delay: Seconds that every chunk takes.
        flip: How many of the next chunks get through with a bit changed.
    """

    target: int
    port: int = 0
    connections: list[anyio.CancelScope] = field(factory=list)
    opened: int = 0
    delay: float = 0.0
    flip: int = 0
    refusing: bool = False
    half: bool = False
    _gate: anyio.Event = field(factory=anyio.Event)
    _stalled: set[anyio.CancelScope] = field(factory=set)
    _raw: socket.socket | None = None
    _serving: anyio.CancelScope | None = None

    def __attrs_post_init__(self) -> None:
        self._gate.set()

    def cut(self, index: int | None = None) -> None:
        """Reset all connections, or one (0 is the oldest that is open)."""
        for scope in self.connections[:] if index is None else [self.connections[index]]:
            scope.cancel()

    def forget(self, index: int) -> None:
        """Reset one connection at the side of the target only; the other side hears nothing."""
        self.half = True
        self.connections[index].cancel()

    def stop(self) -> None:
        """Let nothing through any more."""
        self._gate = anyio.Event()

    def stall(self, index: int) -> None:
        """Let nothing through any more on one connection, for good."""
        self._stalled.add(self.connections[index])

    def restore(self) -> None:
        """Let everything through again."""
        self._gate.set()

    def vanish(self) -> None:
        """Be like a host whose process has died: reset everything and refuse new connections."""
        assert self._serving is not None
        self._serving.cancel()
        self.cut()

    async def carry(self, source: ByteStream, sink: ByteStream, scope: anyio.CancelScope) -> None:
        try:
            while True:
                data = await source.receive()
                if self.delay:
                    await anyio.sleep(self.delay)
                await self._gate.wait()
                if scope in self._stalled:
                    await anyio.sleep_forever()
                if self.flip:
                    self.flip -= 1
                    data = data[:-1] + bytes([data[-1] ^ 1])
                await sink.send(data)
        except anyio.EndOfStream:
            await self._gate.wait()
            with contextlib.suppress(OSError, RuntimeError):  # it may be closed by now
                await sink.send_eof()

    async def handle(self, near: SocketStream) -> None:
        self.opened += 1
        try:
            far = await anyio.connect_tcp("127.0.0.1", self.target)
        except BaseException as error:
            await anyio.aclose_forcefully(near)
            if not isinstance(error, OSError):
                raise
            return
        with anyio.CancelScope() as scope:
            self.connections.append(scope)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.carry, near, far, scope)
                    tasks.start_soon(self.carry, far, near, scope)
            except* (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                pass
            finally:
                self.connections.remove(scope)
                ends, half, self.half = [far, near], self.half, False
                with anyio.CancelScope(shield=True):
                    for stream in ends[:1] if half else ends:
                        if scope.cancel_called:
                            reset(stream)
                        await anyio.aclose_forcefully(stream)
        if half:
            async with near:
                await anyio.sleep_forever()


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    raw = listening_socket()
    network = Proxy(target, raw.getsockname()[1])

    async def serve() -> None:
        with anyio.CancelScope() as network._serving:
            async with await SocketListener.from_socket(raw) as listener:
                while True:
                    tasks.start_soon(network.handle, await listener.accept())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield network
        tasks.cancel_scope.cancel()
