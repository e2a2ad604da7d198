"""The simulated network keeps TCP's promises, and breaks in the ways in which real networks do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
import trio
from anyio.abc import ByteStream
from trio.testing import MockClock

from sllm_actors.testing.sim_net import DialOutcome, SimListener, SimNet
from sllm_actors.testing.sim_stream import SimStream

pytestmark = pytest.mark.trio

USER_TIMEOUT = 3.0


@asynccontextmanager
async def network(seed: int = 1, **buffers: int) -> AsyncIterator[tuple[SimNet, SimListener]]:
    """A running network, where ``b`` listens on port 1."""
    net = SimNet(random.Random(seed), user_timeout=USER_TIMEOUT, **buffers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(net.run)
        yield net, net.listen("b", 1)
        tasks.cancel_scope.cancel()


async def connected(net: SimNet, listener: SimListener) -> tuple[ByteStream, SimStream]:
    near = await net.connect("a", "b", 1)
    return near, await listener.accept()


async def read(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive(size - len(data))
    return data


async def read_all(stream: ByteStream) -> list[bytes]:
    return [piece async for piece in stream]


@pytest.mark.parametrize("seed", range(10))
async def test_bytes_come_whole_and_in_order_however_they_are_split(
    autojump_clock: MockClock, seed: int
) -> None:
    data = random.Random(seed).randbytes(300_000)
    async with network(seed, send_buffer=4096, receive_buffer=16384) as (net, listener):
        near, far = await connected(net, listener)

        async def write() -> None:
            for at in range(0, len(data), 7_000):
                await near.send(data[at : at + 7_000])
            await near.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            pieces = await read_all(far)
        assert b"".join(pieces) == data
        assert len({len(piece) for piece in pieces}) > 3  # they were split
        await far.aclose()


async def test_a_byte_takes_at_least_the_latency_and_bulk_the_bandwidth(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        path = net.path("a", "b")
        path.latency, path.jitter, path.bandwidth = 0.5, 0.0, 10_000.0
        near, far = await connected(net, listener)
        began = trio.current_time()
        await near.send(b"x" * 20_000)
        await near.aclose()
        await read_all(far)
        assert 2.4 < trio.current_time() - began < 3.0
        await far.aclose()


async def test_a_sender_waits_when_the_other_end_does_not_read(autojump_clock: MockClock) -> None:
    async with network(send_buffer=1000, receive_buffer=2000) as (net, listener):
        near, far = await connected(net, listener)
        with anyio.move_on_after(1.0) as patience:
            await near.send(b"x" * 10_000)
        assert patience.cancelled_caught
        await near.aclose()
        assert 2000 <= len(b"".join(await read_all(far))) <= 3000
        await far.aclose()


@pytest.mark.parametrize(("seconds", "survives"), [(USER_TIMEOUT / 2, True), (USER_TIMEOUT * 2, False)])
async def test_a_stall_is_survived_up_to_the_kernels_patience(
    autojump_clock: MockClock, seconds: float, survives: bool
) -> None:
    async with network() as (net, listener):
        near, far = await connected(net, listener)
        with net.stalled(("a", "b")):
            await near.send(b"late")
            await anyio.sleep(seconds)
        if survives:
            assert await read(far, 4) == b"late"
        else:
            with pytest.raises(anyio.BrokenResourceError):
                await near.receive()
        await near.aclose()
        await far.aclose()


async def test_one_way_can_be_stalled_while_the_other_works(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        near, far = await connected(net, listener)
        with net.stalled(("a", "b")):
            await near.send(b"lost for now")
            await far.send(b"heard")
            assert await read(near, 5) == b"heard"
            with anyio.move_on_after(1.0) as patience:
                await far.receive()
            assert patience.cancelled_caught
        assert await read(far, 12) == b"lost for now"
        await near.aclose()
        await far.aclose()


async def test_a_reset_is_seen_at_both_ends_or_only_at_one_until_it_sends(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        near, far = await connected(net, listener)
        net.cut(far, both=False)
        with pytest.raises(anyio.BrokenResourceError):
            await far.receive()
        with anyio.move_on_after(1.0) as patience:
            await near.receive()
        assert patience.cancelled_caught, "the other end should not know yet"
        await near.send(b"?")
        with pytest.raises(anyio.BrokenResourceError):
            await near.receive()
        await near.aclose()
        await far.aclose()


async def test_a_forgotten_connection_says_nothing_to_anybody(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        near, far = await connected(net, listener)
        net.forget(far)
        await near.send(b"into the void")
        with anyio.move_on_after(USER_TIMEOUT / 2) as patience:
            await far.receive()
        assert patience.cancelled_caught
        with pytest.raises(anyio.BrokenResourceError):
            await near.receive()  # until its kernel gives up
        await near.aclose()
        await far.aclose()


async def test_half_a_connection_can_end(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        near, far = await connected(net, listener)
        await near.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await far.receive()
        await far.send(b"still here")
        assert await read(near, 10) == b"still here"
        await near.aclose()
        await far.aclose()


async def test_unread_bytes_make_a_close_a_reset(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        near, far = await connected(net, listener)
        await near.send(b"nobody reads this")
        await anyio.sleep(0.5)
        await far.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await near.receive()
        await near.aclose()


@pytest.mark.parametrize("answer", [DialOutcome.REFUSE, DialOutcome.HANG, DialOutcome.SILENCE])
async def test_a_port_can_refuse_hang_or_accept_and_say_nothing(
    autojump_clock: MockClock, answer: DialOutcome
) -> None:
    async with network() as (net, listener):
        listener.answer = answer
        if answer is DialOutcome.REFUSE:
            with pytest.raises(ConnectionRefusedError):
                await net.connect("a", "b", 1)
            return
        with anyio.move_on_after(1.0) as patience:
            near = await net.connect("a", "b", 1)
            await near.receive()
        assert patience.cancelled_caught


async def test_a_machine_without_power_is_found_out_only_when_it_is_back(autojump_clock: MockClock) -> None:
    async with network() as (net, listener):
        near, _ = await connected(net, listener)
        net.power_lost("b", (1,), ("a",))
        with anyio.move_on_after(USER_TIMEOUT * 2) as patience:
            await near.receive()  # it has sent nothing, so its kernel waits for nothing
        assert patience.cancelled_caught
        net.power_back("b", ("a",))
        await near.send(b"?")
        with pytest.raises(anyio.BrokenResourceError):
            await near.receive()
        await near.aclose()
