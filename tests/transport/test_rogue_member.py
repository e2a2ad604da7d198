"""A peer that has proved the secret and then misbehaves: it costs bounded memory and its own link."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream
from attrs import evolve

from sllm_actors.actors import ActorSystem
from sllm_actors.transport.control import DOWN, MONITOR, TUNNEL_CALL
from sllm_actors.transport.frame import ASK, HEARTBEAT, SEQUENCED, TELL, WINDOW, encode

from .kit import CATALOG, PATIENT, Node, Text, identity, node, until
from .test_bad_peers import _closed, rogue

pytestmark = pytest.mark.anyio

CALM = evolve(PATIENT, control_messages=500)
BEAT = encode(HEARTBEAT, bytes(8))


@asynccontextmanager
async def victim() -> AsyncIterator[tuple[Node, Node, ByteStream, ByteStream]]:
    """A node with an honest peer and a rogue; the honest one must not feel the other."""
    async with node("right", settings=CALM) as right, node("left", settings=CALM) as left:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: right.ups())
        async with rogue(right) as (control, data):
            yield left, right, control, data
        assert await left.ask(right.at(1), Text("honest")) == Text("honest")
        assert [lost for lost in right.losses() if lost.peer.node == "left"] == []


def sequenced(first: int, kind: int, *contents: list[object]) -> bytes:
    return b"".join(
        encode(SEQUENCED, struct.pack("!QB", number, kind) + msgpack.packb(content))
        for number, content in enumerate(contents, first)
    )


async def flood(stream: ByteStream, data: bytes, times: int) -> None:
    with suppress(anyio.BrokenResourceError):
        for _ in range(times):
            await stream.send(data)


async def beat(control: ByteStream) -> None:
    """Stay alive in the eyes of the other side, however long that takes."""
    while True:
        await control.send(BEAT)
        await anyio.sleep(0.02)


async def test_one_byte_at_a_time_is_read_as_well_as_any_other_way() -> None:
    async with victim() as (_, right, control, data):
        message = encode(TELL, msgpack.packb([5, None, "test.text", {"text": "slow"}, None, None]))
        for each in message:
            await data.send(bytes([each]))
        for each in sequenced(1, MONITOR, [5, 77]):
            await control.send(bytes([each]))
        await until(lambda: right.inbound.got and right.inbound.monitors)
        assert right.inbound.messages == [Text("slow")]


async def test_a_flood_of_heartbeats_costs_nothing() -> None:
    async with victim() as (left, right, control, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood, control, BEAT * 1000, 100)
            for _ in range(5):
                assert await left.ask(right.at(1), Text("between")) == Text("between")
        assert right.transport._peer_table.links[right.ups()[1].peer.node].control is not None


@pytest.mark.slow
async def test_a_flood_of_tunnel_calls_and_monitors_of_nobody_is_answered_or_skipped() -> None:
    async with victim() as (_, right, control, _data):
        calls: list[list[object]] = [[] for _ in range(5000)]
        await control.send(sequenced(1, TUNNEL_CALL, *calls))
        monitors: list[list[object]] = [[number, number] for number in range(5000)]
        await control.send(sequenced(5001, MONITOR, *monitors))
        await until(lambda: len(right.inbound.monitors) == 5000)
        assert right.transport.statistics().tunnel_lanes == 0


async def test_downs_of_lanes_that_never_come_are_bounded() -> None:
    async with victim() as (_, right, control, _data):
        downs: list[list[object]] = [
            [number, "gone", 1 << 60, 1] for number in range(CALM.control_messages + 1)
        ]
        await control.send(sequenced(1, DOWN, *downs))
        await until(lambda: right.losses())
        assert "too many of its down signals" in right.losses()[0].reason


@pytest.mark.slow
async def test_answers_that_are_never_read_are_bounded() -> None:
    """It asks on and on and does not read: the answers wait up to the window, and are dropped beyond it."""
    async with victim() as (_, right, control, data):
        ask = encode(
            ASK, struct.pack("!Q", 1) + msgpack.packb([5, None, "test.text", {"text": "x" * 900}, 1, None])
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat, control)
            await flood(data, ask * 50, 400)
            tasks.cancel_scope.cancel()
        (link,) = [each for each in right.transport.statistics().links if each.peer.node == "rogue"]
        assert link.in_flight <= CALM.window
        assert link.queued <= CALM.queue_bytes


@pytest.mark.parametrize("credit", [1, 2**31, 2**32 - 1])
async def test_credit_for_what_was_never_sent_costs_the_lane(credit: int) -> None:
    async with victim() as (_, _right, _control, data):
        await data.send(encode(WINDOW, struct.pack("!I", credit)))
        assert await _closed(data)


@pytest.mark.parametrize("remaining", [float("nan"), float("inf"), -1.0, "nan", 1e300])
async def test_a_deadline_that_is_no_number_does_not_end_the_system_that_it_comes_to(
    remaining: object,
) -> None:
    me = identity("right")
    async with ActorSystem(node=me.node, incarnation=me.incarnation) as system:
        async with node("right", inbound=system, catalog=CATALOG) as right, rogue(right) as (_, data):
            system.attach(right.transport)
            body = msgpack.packb([5, None, "test.text", {}, remaining, None])
            await data.send(encode(ASK, struct.pack("!Q", 1) + body))
            answer = await data.receive()
            assert b"actor_gone" in answer if remaining == 1e300 else b"unknown_message" in answer
        with anyio.fail_after(60):
            await anyio.sleep(0.05)  # the task of all deadlines is still there
        assert len(system.deadlines) == 0
