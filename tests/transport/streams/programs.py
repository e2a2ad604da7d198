"""What is at the two ends of a stream in these tests: a program that notes what it is told, and engines."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from tests.strangers import own_connection
from tests.transport.kit import Open

from sllm_actors.transport import Peer, Target, TunnelRefused, TunnelStream

ENGINE = Open("m:vllm#1")


class Told(asyncio.Protocol):
    """Notes everything; ``stays`` says whether it keeps its side open behind the end of the other."""

    def __init__(self, *, stays: bool = False) -> None:
        self.stays = stays
        self.data = b""
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.over = anyio.Event()
        self.accepted = anyio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TunnelStream)
        self.stream = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.stays

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")
        self.error = exc
        self.over.set()

    async def lost(self) -> Exception | None:
        """Wait for the end, and return what it was told to be."""
        with anyio.fail_after(60):
            await self.over.wait()
        return self.error


@asynccontextmanager
async def engine(
    handle: Callable[[SocketStream], Coroutine[Any, Any, None]],
) -> AsyncIterator[Callable[[Peer, object], Coroutine[Any, Any, Target]]]:
    """An engine on a socket of its own; returns the node's ``on_tunnel``, which connects to it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)
    address = listener.extra(SocketAttribute.local_address)  # noqa: S610 - not Django

    async def on_tunnel(peer: Peer, request: object) -> Target:
        if request != ENGINE:
            raise TunnelRefused(f"there is no replica {request}")
        raw = socket.socket()
        raw.setblocking(False)
        if raw.connect_ex(address):
            await anyio.wait_writable(raw)
        return raw

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, own_connection(handle))
        yield on_tunnel
        tasks.cancel_scope.cancel()


async def shout(stream: SocketStream) -> None:
    """Answers in capitals, and ends when the other side ends."""
    async for chunk in stream:
        await stream.send(chunk.upper())


async def silence(stream: SocketStream) -> None:
    """Reads nothing and says nothing, until the test is over."""
    await anyio.sleep_forever()
