"""A peer that has proved who it is and then misuses its tunnel lane: it costs that lane, and no more."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.abc import ByteStream
from attrs import evolve
from tests.transport.kit import CATALOG, PATIENT, Node, Text, node, until
from tests.transport.test_bad_peers import _closed, _enter, rogue

from sllm_actors.transport.codec import Codec, pack
from sllm_actors.transport.frame import HEARTBEAT, TELL, FrameDecoder, encode
from sllm_actors.transport.hello import Lane
from sllm_actors.transport.streams.wire import (
    ACCEPT,
    CREDIT,
    DATA,
    END,
    LANE_WINDOW,
    OPEN,
    PIECE,
    REFUSE,
    RESET,
    STREAM_WINDOW,
    credit,
    frame,
)

from .programs import ENGINE, Told, engine, shout, silence

pytestmark = pytest.mark.anyio

CALM = evolve(PATIENT, missed=30, max_lane_streams=20)
REQUEST = pack(Codec(CATALOG).to_wire(ENGINE))


@asynccontextmanager
async def victim(handle: object = shout) -> AsyncIterator[tuple[Node, Node, ByteStream]]:
    """A node with an honest peer and a rogue, which has a tunnel lane; the honest one must not feel it."""
    async with (
        engine(handle) as on_tunnel,  # type: ignore[arg-type]
        node("right", settings=CALM, on_tunnel=on_tunnel) as right,
        node("left", settings=CALM) as left,
    ):
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: right.ups() and left.ups())
        honest = Told()
        left.transport.open_stream(right.id, ENGINE, honest, honest.accepted.set)
        await honest.accepted.wait()
        async with rogue(right), await _enter(right.port, "rogue", Lane.TUNNEL) as lane:
            yield left, right, lane
        assert not honest.over.is_set()
        assert await left.ask(right.at(1), Text("honest")) == Text("honest")
        honest.stream.abort()
        await until(lambda: right.transport.statistics().tunnels == 0)
        assert right.transport.statistics().tunnel_bytes == 0


@pytest.mark.parametrize(
    "said",
    [
        random.Random(3).randbytes(4096),
        encode(TELL, bytes(20)),
        encode(DATA, b"short"),
        frame(DATA, 1, b"x"),
        frame(OPEN, 2, REQUEST),
        frame(OPEN, 1, REQUEST) * 2,
        frame(OPEN, 1, bytes(20_000)),
        frame(OPEN, 1, REQUEST) + frame(DATA, 1, bytes(PIECE)) * (STREAM_WINDOW // PIECE + 1),
        frame(OPEN, 1, REQUEST) + frame(DATA, 1, bytes(PIECE + 1)),
        frame(OPEN, 1, REQUEST) + frame(END, 1) * 2,
        frame(OPEN, 1, REQUEST) + frame(ACCEPT, 1),
        frame(OPEN, 1, REQUEST) + frame(REFUSE, 1),
        frame(OPEN, 1, REQUEST) + frame(CREDIT, 1),
        frame(OPEN, 1, REQUEST) + credit(1, 1),
        credit(0, LANE_WINDOW),
    ],
)
async def test_a_lie_costs_the_lane(said: bytes) -> None:
    async with victim(silence) as (_, right, lane):
        await lane.send(said)
        assert await _closed(lane)
        assert right.transport.statistics().hook_failures == 0


@pytest.mark.parametrize("request_", [b"", b"\xc1", b"\x90", pack(["no such message", {}]), pack([5, 5])])
async def test_a_request_that_cannot_be_read_is_refused_and_costs_nothing_else(request_: bytes) -> None:
    async with victim() as (_, right, lane):
        await lane.send(frame(OPEN, 1, request_) + frame(DATA, 1, b"x"))
        decoder, kinds = FrameDecoder(), set()
        with anyio.fail_after(60):
            while REFUSE not in kinds:
                kinds |= {kind for kind, _ in decoder.receive(await lane.receive())}
        assert kinds <= {REFUSE, HEARTBEAT}
        await lane.send(frame(OPEN, 3, REQUEST) + frame(DATA, 3, b"x") + frame(RESET, 3, b"why not"))
        await until(lambda: right.transport.statistics().tunnels == 1)
        assert not await _closed(lane, 0.05)


@pytest.mark.slow
async def test_streams_that_are_opened_and_never_read_are_bounded() -> None:
    async with victim() as (_, _right, lane):
        with suppress(anyio.BrokenResourceError):
            for number in range(1, 40_001, 2):
                await lane.send(frame(OPEN, number, REQUEST) + frame(DATA, number, bytes(10)))
        assert await _closed(lane)


@pytest.mark.parametrize("seed", range(5))
async def test_any_frames_cost_the_lane_at_most(seed: int) -> None:
    rng = random.Random(seed)
    async with victim() as (_, _right, lane):
        with suppress(anyio.BrokenResourceError):
            for _ in range(300):
                kind = rng.choice([OPEN, OPEN, DATA, DATA, CREDIT, END, RESET, ACCEPT, REFUSE])
                content = rng.choice([REQUEST, rng.randbytes(rng.randrange(1, 40))])
                if rng.random() < 0.5:
                    kind = OPEN
                await lane.send(frame(kind, rng.choice([1, 3, rng.randrange(50)]), content))
