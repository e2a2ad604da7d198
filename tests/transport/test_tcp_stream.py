"""The byte stream over a socket: what tasks see, and what is read and written without one."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest

from sllm_actors.transport.sockets import raw_socket, remote_host
from sllm_actors.transport.tcp_stream import Immediate, TcpStream

pytestmark = pytest.mark.anyio
BULK = bytes(range(256)) * 16_384  # 4 MiB: more than the kernel takes at once


@contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near, far


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[TcpStream, TcpStream]]:
    with sockets() as (near, far):
        async with TcpStream(near) as left, TcpStream(far) as right:
            yield left, right


class Heap:
    """What was pumped."""

    def __init__(self, enough: int) -> None:
        self.data = bytearray()
        self.enough = enough
        self.full = anyio.Event()

    def take(self, data: bytes | memoryview) -> None:
        self.data += data
        if len(self.data) >= self.enough:
            self.full.set()


async def test_bytes_go_both_ways_and_a_side_can_be_closed_alone() -> None:
    async with streams() as (left, right):
        await left.send(b"there")
        assert await right.receive() == b"there"
        await left.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await right.receive()
        await right.send(b"and back")
        assert await left.receive(3) == b"and"
        assert await left.receive() == b" back"


async def test_a_send_waits_for_a_slow_reader_and_everything_arrives_in_order() -> None:
    async with streams() as (left, right), anyio.create_task_group() as tasks:
        tasks.start_soon(left.send, BULK)
        got = bytearray()
        while len(got) < len(BULK):
            got += await right.receive(100_000)
        assert got == BULK


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with streams() as (left, right):
        with anyio.move_on_after(0.01) as scope:
            await right.receive()
        assert scope.cancelled_caught
        await left.send(b"late")
        assert await right.receive() == b"late"


async def test_what_the_kernel_takes_at_once_is_written_without_a_task() -> None:
    async with streams() as (left, right):
        assert isinstance(left, Immediate)
        assert left.send_nowait(b"now") == 3
        assert await right.receive() == b"now"
        written = 0
        while size := left.send_nowait(memoryview(BULK)):
            written += size
        assert left.send_nowait(b"no room") == 0
        got = 0
        while got < written:
            got += len(await right.receive())


async def test_a_pump_takes_everything_in_order_and_leaves_the_rest_when_it_is_cancelled() -> None:
    async with streams() as (left, right):
        heap = Heap(len(BULK))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(right.pump, heap.take, 65_536)
            await left.send(BULK)
            with anyio.fail_after(60):
                await heap.full.wait()
            tasks.cancel_scope.cancel()
        assert heap.data == BULK
        await left.send(b"for a task again")
        assert await right.receive() == b"for a task again"


async def test_the_end_of_the_other_side_ends_a_pump() -> None:
    async with streams() as (left, right):
        await left.send(b"last")
        await left.send_eof()
        heap = Heap(1)
        with pytest.raises(anyio.EndOfStream), anyio.fail_after(60):
            await right.pump(heap.take, 1024)
        assert heap.data == b"last"


async def test_what_a_taker_raises_is_raised_where_the_pump_is_awaited() -> None:
    def refuse(data: bytes | memoryview) -> None:
        raise ValueError(f"not {bytes(data)!r}")

    async with streams() as (left, right):
        await left.send(b"this")
        with pytest.raises(ValueError, match="not b'this'"), anyio.fail_after(60):
            await right.pump(refuse, 1024)


async def test_a_reset_breaks_the_stream() -> None:
    with sockets() as (near, far):
        async with TcpStream(near) as left:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(60):
                await left.receive()
            with pytest.raises(anyio.BrokenResourceError):
                left.send_nowait(b"x")


async def test_closing_wakes_who_waits_and_ends_the_stream_for_everybody() -> None:
    async with streams() as (left, _):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await left.receive()

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await left.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await left.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await left.send(b"x")
        await left.aclose()


async def test_the_other_end_is_named_even_when_it_is_gone() -> None:
    async with streams() as (left, right):
        assert remote_host(left) == "127.0.0.1"
        assert raw_socket(left) is not None
        await right.aclose()
        assert remote_host(left) == "127.0.0.1"
