"""Streams over real sockets, as a program has them: what it is told, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from attrs import evolve
from tests.transport.kit import PATIENT, QUICK, Node, Open, Unregistered, node, pair, until
from tests.transport.proxy import proxy

from sllm_actors.actors.errors import PeerDown, UnknownMessage
from sllm_actors.actors.identity import NodeId
from sllm_actors.transport import NodeFull, Peer, Target, TunnelBroken, TunnelRefused
from sllm_actors.transport.sockets import connect
from sllm_actors.transport.streams.broker import CROWDED
from sllm_actors.transport.streams.wire import DATA, STREAM_WINDOW, frame

from .programs import ENGINE, Told, engine, shout, silence

pytestmark = pytest.mark.anyio


def tunnels(*nodes: Node) -> list[int]:
    return [each.transport.statistics().tunnels for each in nodes]


async def test_what_is_written_at_once_is_answered_and_both_ends_are_told_that_it_is_over() -> None:
    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        told = Told()
        stream = left.transport.open_stream(right.id, ENGINE, told, told.accepted.set)
        assert told.calls == ["made"]
        assert told.stream is stream
        tried = [stream.tried]
        stream.write(b"hel")
        stream.write(bytearray(b"lo"))
        stream.writelines([b" ", memoryview(b"you")])
        stream.write_eof()
        assert stream.can_write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            stream.write(b"more")
        assert await told.lost() is None
        assert told.data == b"HELLO YOU"
        assert told.calls == ["made", "eof", "lost"]
        assert told.accepted.is_set()
        assert stream.accepted
        assert [*tried, stream.tried] == [False, True]
        assert stream.is_closing()
        assert stream.get_extra_info("peername") == right.id
        assert stream.get_extra_info("socket", 5) == 5
        await until(lambda: tunnels(left, right) == [0, 0])
        assert left.transport.statistics().tunnel_bytes == right.transport.statistics().tunnel_bytes == 0
        assert left.transport.statistics().tunnel_lanes == right.transport.statistics().tunnel_lanes == 1


@pytest.mark.slow
async def test_a_thousand_streams_at_once_make_a_few_connections() -> None:
    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        everyone = [Told() for _ in range(1000)]
        for number, told in enumerate(everyone):
            stream = left.transport.open_stream(right.id, ENGINE, told)
            stream.write(b"request %d" % number)
            stream.write_eof()
        for number, told in enumerate(everyone):
            assert await told.lost() is None
            assert told.data == b"REQUEST %d" % number
        assert 1 < left.transport.statistics().tunnel_lanes <= PATIENT.tunnel_lanes
        assert right.transport.statistics().connections == 2 + left.transport.statistics().tunnel_lanes
        assert left.transport.statistics().turned_away == right.transport.statistics().turned_away == 0
        await until(lambda: tunnels(left, right) == [0, 0])


@pytest.mark.slow
async def test_a_lane_is_shared_until_it_is_crowded_and_by_both_directions() -> None:
    async with (
        engine(silence) as there,
        engine(shout) as here,
        pair(left={"on_tunnel": here}, right={"on_tunnel": there}) as (left, right),
    ):
        first = Told()
        left.transport.open_stream(right.id, ENGINE, first, first.accepted.set)
        await first.accepted.wait()
        back = Told()
        right.transport.open_stream(left.id, ENGINE, back).write(b"from the dialled side")
        await until(lambda: back.data == b"FROM THE DIALLED SIDE")
        for _ in range(CROWDED - 2):
            left.transport.open_stream(right.id, ENGINE, Told())
        assert len(left.transport._tunnels._lanes[right.id]) == 1
        left.transport.open_stream(right.id, ENGINE, Told())
        assert len(left.transport._tunnels._lanes[right.id]) == 2
        await until(lambda: left.transport.statistics().tunnel_lanes == 2)


async def test_a_stream_that_nobody_reads_stalls_no_other() -> None:
    async def flood(stream: SocketStream) -> None:
        if (await stream.receive())[:4] != b"much":
            await stream.send(b"little")
            return
        while True:
            await stream.send(bytes(65536))

    async with engine(flood) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        stalled = [Told() for _ in range(8)]
        for told in stalled:
            stream = left.transport.open_stream(right.id, ENGINE, told)
            stream.pause_reading()
            assert not stream.is_reading()
            stream.write(b"much")
        await until(lambda: left.transport.statistics().tunnel_bytes == 8 * STREAM_WINDOW)
        for _ in range(20):
            told = Told()
            left.transport.open_stream(right.id, ENGINE, told).write(b"a little")
            assert await told.lost() is None
            assert told.data == b"little"
        assert left.transport.tunnel_bytes == 8 * STREAM_WINDOW
        assert all(not told.data for told in stalled)
        stalled[0].stream.resume_reading()
        assert stalled[0].stream.is_reading()
        await until(lambda: len(stalled[0].data) > 5 * STREAM_WINDOW)
        for told in stalled:
            told.stream.abort()
            assert await told.lost() is None
        assert left.transport.statistics().tunnel_bytes == 0
        await until(lambda: tunnels(left, right) == [0, 0])


async def test_a_writer_is_told_to_pause_and_to_go_on() -> None:
    go_on = anyio.Event()

    async def wait(stream: SocketStream) -> None:
        await go_on.wait()
        async for _ in stream:
            pass
        await stream.send(b"got it")

    async with engine(wait) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        told = Told()
        stream = left.transport.open_stream(right.id, ENGINE, told)
        stream.write(bytes(32 * 1024 * 1024))
        assert told.calls == ["made", "pause"]
        assert stream.get_write_buffer_size() == left.transport.statistics().tunnel_bytes == 32 * 1024 * 1024
        stream.write_eof()
        go_on.set()
        assert await told.lost() is None
        assert told.calls == ["made", "pause", "resume", "eof", "lost"]
        assert told.data == b"got it"


async def test_a_refusal_says_that_nothing_was_tried() -> None:
    async def full(peer: Peer, request: object) -> Target:
        raise NodeFull("no file descriptors are left here")

    async with (
        engine(shout) as on_tunnel,
        pair(left={"on_tunnel": full}, right={"on_tunnel": on_tunnel}) as nodes,
    ):
        left, right = nodes
        told = Told()
        stream = left.transport.open_stream(right.id, Open("other"), told, told.accepted.set)
        stream.write(b"dropped")
        error = await told.lost()
        assert type(error) is TunnelRefused
        assert "there is no replica" in error.reason
        assert not stream.tried
        assert not stream.accepted
        assert not told.accepted.is_set()
        told = Told()
        stream = right.transport.open_stream(left.id, ENGINE, told)
        assert isinstance(await told.lost(), NodeFull)
        assert not stream.tried
        with pytest.raises(PeerDown, match="no link to nobody"):
            left.transport.open_stream(NodeId("nobody"), ENGINE, Told())
        with pytest.raises(UnknownMessage):
            left.transport.open_stream(right.id, Unregistered(), Told())
        with pytest.raises(ValueError, match="longer than"):
            left.transport.open_stream(right.id, Open("x" * 20_000), Told())
        assert tunnels(left) == [0]


async def test_a_lane_that_cannot_be_dialled_refuses_its_streams_and_the_next_one_tries_again() -> None:
    async with (
        engine(shout) as on_tunnel,
        node("right", on_tunnel=on_tunnel) as right,
        proxy(right.port) as network,
        node("left") as left,
    ):
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        link = left.transport._peer_table.links[right.id]
        address, link.address = link.address, ("127.0.0.1", 1)
        told = [Told() for _ in range(3)]
        streams = [left.transport.open_stream(right.id, ENGINE, each) for each in told]
        for each, stream in zip(told, streams, strict=True):
            error = await each.lost()
            assert isinstance(error, TunnelRefused)
            assert "no tunnel lane to right" in error.reason
            assert not stream.tried
        link.address = address
        again = Told()
        left.transport.open_stream(right.id, ENGINE, again).write(b"again")
        await until(lambda: again.data == b"AGAIN")
        assert tunnels(left) == [1]


@pytest.mark.slow
async def test_a_peer_that_is_called_and_does_not_dial_costs_the_streams_and_not_more() -> None:
    hurried = evolve(PATIENT, handshake_timeout=0.3)
    dials = 0

    async def never(host: str, port: int) -> Any:
        nonlocal dials
        dials += 1
        if dials > 2:
            await anyio.sleep_forever()
        return await connect(host, port)

    async with pair(left={"connect": never}, right={"settings": hurried}) as (left, right):
        told = Told()
        stream = right.transport.open_stream(left.id, ENGINE, told)
        error = await told.lost()
        assert isinstance(error, TunnelRefused)
        assert "came about in time" in error.reason
        assert not stream.tried
        assert not right.transport._tunnels._lanes


async def test_streams_that_wait_for_a_lane_are_told_at_once_that_their_link_is_lost() -> None:
    dials = 0

    async def never(host: str, port: int) -> Any:
        nonlocal dials
        dials += 1
        if dials > 2:
            await anyio.sleep_forever()
        return await connect(host, port)

    async with pair(left={"connect": never}) as (left, right):
        told, waiting = Told(), Told()
        right.transport.open_stream(left.id, ENGINE, told)
        left.transport.open_stream(right.id, ENGINE, waiting)
        for dial in list(left.transport._dials):
            dial.close()
        for each in (told, waiting):
            assert isinstance(await each.lost(), PeerDown)
            assert not each.stream.tried
        await until(lambda: tunnels(left, right) == [0, 0])


async def test_a_lane_that_breaks_tells_its_streams_and_is_dialled_again() -> None:
    async with (
        engine(shout) as on_tunnel,
        node("right", on_tunnel=on_tunnel) as right,
        proxy(right.port) as network,
        node("left") as left,
    ):
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        told = Told()
        stream = left.transport.open_stream(right.id, ENGINE, told)
        stream.write(b"x")
        await until(lambda: told.data == b"X")
        network.cut(2)
        assert isinstance(await told.lost(), TunnelBroken)
        assert stream.tried
        stream.write(b"dropped")
        stream.abort()
        stream.close()
        assert told.calls == ["made", "lost"]
        again = Told()
        left.transport.open_stream(right.id, ENGINE, again).write(b"again")
        await until(lambda: again.data == b"AGAIN")
        assert not left.losses()
        await until(lambda: tunnels(left, right) == [1, 1])


@pytest.mark.slow
async def test_a_lane_that_has_gone_silent_alone_is_given_up_at_both_ends() -> None:
    async with (
        engine(silence) as on_tunnel,
        node("right", on_tunnel=on_tunnel, settings=QUICK) as right,
        proxy(right.port) as network,
        node("left", settings=QUICK) as left,
    ):
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        told = Told()
        left.transport.open_stream(right.id, ENGINE, told, told.accepted.set)
        await told.accepted.wait()
        network.stall(2)
        error = await told.lost()
        assert isinstance(error, TunnelBroken)
        await until(lambda: tunnels(left, right) == [0, 0])
        assert not left.losses()
        assert not right.losses()


async def test_a_node_that_stops_tells_its_streams_before_it_is_gone() -> None:
    told, far = Told(), Told()
    async with engine(silence) as on_tunnel, node("right", on_tunnel=on_tunnel) as right:
        async with node("left", on_tunnel=on_tunnel) as left:
            left.transport.dial("127.0.0.1", right.port)
            await until(lambda: left.ups() and right.ups())
            left.transport.open_stream(right.id, ENGINE, told, told.accepted.set)
            right.transport.open_stream(left.id, ENGINE, far, far.accepted.set)
            await told.accepted.wait()
            await far.accepted.wait()
        assert told.over.is_set()
        assert isinstance(told.error, PeerDown | TunnelBroken)
        assert isinstance(await far.lost(), PeerDown | TunnelBroken)
        await until(lambda: tunnels(right) == [0])


async def test_what_a_protocol_raises_costs_its_stream_alone() -> None:
    class Fragile(Told):
        def data_received(self, data: bytes) -> None:
            raise KeyError("a bug")

    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        fragile, other = Fragile(), Told()
        left.transport.open_stream(right.id, ENGINE, fragile).write(b"x")
        assert await fragile.lost() is None
        left.transport.open_stream(right.id, ENGINE, other).write(b"y")
        await until(lambda: other.data == b"Y")
        await until(lambda: tunnels(left, right) == [1, 1])


async def test_a_protocol_that_fails_at_its_beginning_opens_nothing() -> None:
    class Fragile(Told):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise KeyError("a bug")

    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        with pytest.raises(KeyError):
            left.transport.open_stream(right.id, ENGINE, Fragile())
        assert tunnels(left, right) == [0, 0]


async def test_a_closed_stream_delivers_what_was_written_and_an_aborted_one_ends_the_engines_connection() -> (
    None
):
    heard: list[bytes] = []

    async def listen(stream: SocketStream) -> None:
        said = b""
        try:
            async for chunk in stream:
                said += chunk
        except anyio.BrokenResourceError:
            said += b" (broken)"
        heard.append(said)

    async with engine(listen) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        told = Told()
        stream = left.transport.open_stream(right.id, ENGINE, told)
        stream.write(bytes(300_000))
        stream.close()
        stream.write(b"not this")
        assert stream.is_closing()
        assert await told.lost() is None
        await until(lambda: [len(each) for each in heard] == [300_000])
        told = Told()
        stream = left.transport.open_stream(right.id, ENGINE, told, told.accepted.set)
        stream.write(b"half a que")
        await told.accepted.wait()
        stream.abort()
        assert not told.over.is_set(), "nothing is called from within abort"
        assert await told.lost() is None
        await until(lambda: len(heard) == 2)
        await until(lambda: tunnels(left, right) == [0, 0])


async def test_a_peer_that_lies_loses_its_lane_and_only_that() -> None:
    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        told = Told()
        left.transport.open_stream(right.id, ENGINE, told).write(b"x")
        await until(lambda: told.data == b"X")
        (lane,) = left.transport._tunnels._lanes[right.id]
        assert lane._connection is not None
        lane._connection.send(frame(DATA, 77, b"of a stream that was never opened"))
        assert isinstance(await told.lost(), TunnelBroken)
        await until(lambda: tunnels(left, right) == [0, 0])
        assert not left.losses()
        again = Told()
        left.transport.open_stream(right.id, ENGINE, again).write(b"again")
        await until(lambda: again.data == b"AGAIN")


async def test_the_protocol_of_a_stream_can_be_replaced() -> None:
    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        first, second = Told(), Told()
        stream = left.transport.open_stream(right.id, ENGINE, first)
        assert stream.get_protocol() is first
        stream.set_protocol(second)
        stream.write(b"x")
        await until(lambda: second.data == b"X")
        assert isinstance(stream, asyncio.Transport)
        assert first.data == b""
