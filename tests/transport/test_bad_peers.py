"""A port on a network is dialled by anyone: whatever they send, the node and its other links go on."""

from __future__ import annotations

import random
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream
from attrs import evolve
from tests.tunnels import open_tunnel

from sllm_actors.actors.identity import Address, NodeId
from sllm_actors.testing.node_keys import credential_of, key_of
from sllm_actors.transport import TunnelRefused
from sllm_actors.transport.admission import Admission
from sllm_actors.transport.frame import ACK, ASK, PART, REPLY, SEQUENCED, TELL, WINDOW, encode
from sllm_actors.transport.handshake import MAGIC, Handshake
from sllm_actors.transport.handshake_io import dial_handshake
from sllm_actors.transport.hello import Hello, Lane
from sllm_actors.transport.listener import OTHER_LANES

from .kit import CLUSTER, PATIENT, QUICK, SECRET, Node, Open, Text, life, node, pair, until

pytestmark = pytest.mark.anyio

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))


async def _closed(stream: ByteStream, within: float = 60.0) -> bool:
    """Tell whether the other end closes the connection."""
    with anyio.move_on_after(within):
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return True
    return False


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        TLS_HELLO,
        random.Random(1).randbytes(65536),
        MAGIC + b"\x01\xff\xff",
        MAGIC + b"\x02\x00\x00",
        MAGIC + b"\x01\x00\x03\x81\xa1\x61",
        MAGIC + b"\x01\x00\x01\xc0",
        MAGIC + b"\x09\x00\x00",
    ],
    ids=["http", "tls", "random", "lying-length", "no-hello", "torn-map", "nil", "unknown-kind"],
)
async def test_a_foreign_opening_is_closed_and_the_links_go_on(opening: bytes) -> None:
    async with pair() as (left, right):
        async with await anyio.connect_tcp("127.0.0.1", right.port) as stream:
            await stream.send(opening)
            assert await _closed(stream)
        assert await left.ask(right.at(1), Text("x")) == Text("x")
        assert not right.losses()


@pytest.mark.slow
async def test_a_handshake_that_drips_is_cut_off_in_time() -> None:
    async with node("right", settings=evolve(QUICK, handshake_timeout=0.5)) as right:
        stream = await anyio.connect_tcp("127.0.0.1", right.port)

        async def drip() -> None:
            for each in MAGIC + b"\x01\x10\x00" + bytes(4000):
                await stream.send(bytes([each]))
                await anyio.sleep(0.05)

        with anyio.fail_after(60), pytest.raises(anyio.BrokenResourceError):  # the drips would last for 200 s
            await drip()
        await stream.aclose()
        await until(lambda: right.transport.statistics().handshakes == 0)


async def test_more_handshakes_than_allowed_are_turned_away_at_once() -> None:
    async with node("right", settings=evolve(PATIENT, max_handshakes=3)) as right:
        streams = [await anyio.connect_tcp("127.0.0.1", right.port) for _ in range(3)]
        await until(lambda: right.transport.statistics().handshakes == 3)
        async with await anyio.connect_tcp("127.0.0.1", right.port) as stream:
            assert await _closed(stream, PATIENT.handshake_timeout / 2)
        assert right.transport.statistics().turned_away == 1
        for each in streams:
            await each.aclose()
        await until(lambda: right.transport.statistics().connections == 0)


async def test_one_address_cannot_take_the_handshakes_of_all_others() -> None:
    async with node("right", settings=evolve(PATIENT, max_handshakes_per_host=2)) as right:
        streams = [await anyio.connect_tcp("127.0.0.1", right.port) for _ in range(2)]
        await until(lambda: right.transport.statistics().handshakes == 2)
        async with await anyio.connect_tcp("127.0.0.1", right.port) as stream:
            assert await _closed(stream, PATIENT.handshake_timeout / 2)
        elsewhere = await anyio.connect_tcp("127.0.0.1", right.port, local_host="127.0.0.2")
        await until(lambda: right.transport.statistics().handshakes == 3)
        for each in (*streams, elsewhere):
            await each.aclose()
        await until(lambda: right.transport.statistics().handshakes == 0)
        assert not right.transport._doorman._shaking_from


async def test_strangers_take_no_room_of_a_peer_that_is_linked() -> None:
    few = evolve(PATIENT, max_handshakes=2, max_handshakes_per_host=2, handshake_timeout=30.0)
    async with node("right", settings=few) as right, node("left") as left:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.ups() and right.ups())
        async with AsyncExitStack() as strangers:
            for _ in range(2):
                await strangers.enter_async_context(await anyio.connect_tcp("127.0.0.1", right.port))
            await until(lambda: right.transport.statistics().handshakes == 2)
            with pytest.raises(TunnelRefused, match="opens no tunnels"):
                await open_tunnel(left.transport, right.id, Open("r"), timeout=60)
            assert right.transport.statistics().turned_away == 0
            for _ in range(20):
                await strangers.enter_async_context(await anyio.connect_tcp("127.0.0.1", right.port))
            await until(lambda: right.transport.statistics().turned_away)
            assert right.transport.statistics().handshakes <= OTHER_LANES + few.tunnel_lanes


def _hello(name: str, lane: Lane, epoch: int) -> Hello:
    return Hello(
        cluster=CLUSTER,
        node=NodeId(name),
        role="worker",
        incarnation=life(1),
        lane=lane,
        nonce=bytes(32),
        public_key=key_of(name).public_key,
        credential=credential_of(CLUSTER, name, "worker").encode(),
        epoch=epoch,
    )


async def _enter(port: int, name: str, lane: Lane, epoch: int = 0) -> ByteStream:
    stream = await anyio.connect_tcp("127.0.0.1", port)
    handshake = Handshake(lambda: _hello(name, lane, epoch), SECRET, key_of(name), dialler=True)
    await dial_handshake(stream, handshake, lambda *_: Admission())
    return stream


@asynccontextmanager
async def rogue(right: Node, name: str = "rogue") -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """A peer that completes the handshakes honestly; what it does then is up to the test."""
    async with await _enter(right.port, name, Lane.CONTROL) as control:
        await until(lambda: any(link.peer.node == name for link in right.transport.statistics().links))
        async with await _enter(right.port, name, Lane.DATA, epoch=1) as data:
            await until(lambda: any(up.peer.node == name for up in right.ups()))
            yield control, data


@pytest.mark.parametrize(
    "garbage",
    [
        random.Random(2).randbytes(4096),
        struct.pack("!IB", 0xFFFFFFFF, TELL),
        encode(SEQUENCED, b"x"),
        encode(99, b""),
        encode(WINDOW, struct.pack("!I", 1)),
        encode(WINDOW, b""),
        encode(ASK, b"short"),
        encode(PART, b""),
        encode(PART, struct.pack("!IB", 1, 0)),
        encode(PART, struct.pack("!IBBI", 1, 1, TELL, 0xFFFFFFFF)),
    ],
    ids=["random", "length", "lane", "kind", "credit", "no-credit", "ask", "part", "orphan", "huge"],
)
async def test_garbage_on_a_data_lane_costs_only_that_lane(garbage: bytes) -> None:
    async with node("right") as right, node("left") as left, rogue(right) as (_, data):
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: len(right.ups()) == 2)
        await data.send(garbage)
        assert await _closed(data)
        assert await left.ask(right.at(1), Text("x")) == Text("x")


@pytest.mark.parametrize(
    "garbage",
    [
        random.Random(3).randbytes(4096),
        encode(TELL, b""),
        encode(ACK, b""),
        encode(ACK, struct.pack("!Q", 5)),
        encode(SEQUENCED, struct.pack("!QB", 7, 1)),
        encode(SEQUENCED, struct.pack("!QB", 1, 1) + b"\xc1"),
        encode(SEQUENCED, struct.pack("!QB", 1, 1) + b"\x92\xc0\xc0"),
        encode(SEQUENCED, struct.pack("!QB", 1, 77) + b"\x90"),
    ],
    ids=["random", "lane", "ack", "future-ack", "gap", "no-msgpack", "types", "kind"],
)
async def test_garbage_on_a_control_lane_closes_it(garbage: bytes) -> None:
    async with node("right") as right, rogue(right) as (control, _):
        await control.send(garbage)
        assert await _closed(control)


async def test_what_a_later_version_adds_is_skipped() -> None:
    async with node("right") as right, rogue(right) as (control, data):
        await control.send(encode(200, b"?") + encode(SEQUENCED, struct.pack("!QB", 1, 200)))
        await data.send(
            encode(200, b"?") + encode(TELL, b"\x97\x05\xc0\xa9test.text\x81\xa4text\xa2hi\xc0\xc0\xc3")
        )
        await until(lambda: right.inbound.got)
        assert right.inbound.messages == [Text("hi")]
        assert not right.losses()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x96\xc0\xc0\xa9test.text\x80\xc0\xc0",
        b"\x96\x05\xc0\xa4nope\x80\xc0\xc0",
        b"\x96\x05\xc0\xc3\x80\xc0\xc0",
        b"\x96\x05\xc0\xa9test.blob\x80\xc0\xc0",
        b"\x96\x05\xc0\xa9test.text\x80\xa1x\xc0",
        b"\x91" * 5000,
    ],
)
async def test_a_message_that_cannot_be_read_is_an_error_to_its_asker_and_the_lane_stays(body: bytes) -> None:
    async with node("right") as right, rogue(right) as (_, data):
        await data.send(encode(TELL, body) + encode(ASK, struct.pack("!Q", 1) + body))
        answer = await data.receive()
        assert b"unknown_message" in answer
        assert len(right.inbound.dead) == 1
        assert repr(right.inbound.dead[0][0].message) == "Unreadable()"
        await data.send(encode(REPLY, struct.pack("!Q", 9) + b"\x92\xc0\xc0"))
        await data.send(encode(TELL, b"\x96\x05\xc0\xa9test.text\x80\xc0\xc0"))
        await until(lambda: right.inbound.got)


@pytest.mark.slow
async def test_a_peer_that_never_reads_costs_a_bounded_queue() -> None:
    small = evolve(PATIENT, missed=30, queue_bytes=256 * 1024, receiver_queue_bytes=128 * 1024)
    async with node("right", settings=small) as right, rogue(right):
        target = right.transport.peers()[0]
        for _ in range(2000):
            right.tell(Address(target.node, target.incarnation, 1), Text("x" * 1000))
        link = right.transport.statistics().links[0]
        assert link.in_flight <= 256 * 1024
        assert link.queued <= 128 * 1024
        assert right.inbound.dead
        assert "the way to rogue is full" in right.inbound.dead[0][1]
        await until(lambda: right.losses(), what="a peer that sends no heartbeat is lost")
        assert len(right.inbound.dead) > 1800
