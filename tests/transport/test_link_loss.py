"""What happens to a link when connections break, when the network stops, when a node dies or returns."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from attrs import evolve
from tests.strangers import own_connection
from tests.tunnels import open_tunnel

from sllm_actors.actors.errors import PeerDown
from sllm_actors.actors.identity import Incarnation
from sllm_actors.actors.network import Envelope
from sllm_actors.transport import Peer, PeerDoubted, PeerLost, PeerTrusted, PeerUp, TransportSettings
from sllm_actors.transport.connection import Connection
from sllm_actors.transport.control import LANE_LOST
from sllm_actors.transport.hello import NONCE_SIZE, Lane
from sllm_actors.transport.sockets import connect, raw_socket

from .kit import PATIENT, QUICK, Node, Open, Text, life, node, pair, until
from .proxy import Proxy, proxy

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def far_pair(
    settings: TransportSettings = PATIENT, **left: Any
) -> AsyncIterator[tuple[Node, Node, Proxy]]:
    """Two nodes with a network between them."""
    async with (
        node("right", role="head", settings=settings) as there,
        proxy(there.port) as network,
        node("left", settings=settings, **left) as here,
    ):
        here.transport.dial("127.0.0.1", network.port)
        await until(lambda: here.ups() and there.ups(), what="the link")
        yield here, there, network


async def test_control_messages_survive_a_reconnect_exactly_once_and_in_order() -> None:
    async with far_pair() as (left, right, network):
        for watch in range(200):
            if watch % 50 == 25:
                network.cut()
                await anyio.sleep(0.005)
            left.transport.monitor(right.at(1), watch)
            right.transport.down(left.id, watch, "gone")
        await until(lambda: len(right.inbound.monitors) >= 200 and len(left.inbound.downs) >= 200)
        await until(lambda: not left.transport.statistics().links[0].unacknowledged)
        assert [watch for _, _, watch in right.inbound.monitors] == list(range(200))
        assert sorted(watch for _, watch, _ in left.inbound.downs) == list(range(200))
        assert not left.losses()
        assert not right.losses()


async def test_a_lost_data_lane_fails_its_asks_at_once_and_comes_back() -> None:
    async with far_pair() as (left, right, network):
        right.inbound.answer = lambda _, reply_to: None
        outcomes: list[Any] = []
        left.transport.ask(Envelope(right.at(1), Text("lost")), outcomes.append)
        await until(lambda: right.inbound.got)
        network.cut(1)
        await until(lambda: outcomes, within=PATIENT.budget / 2, what="no silence is waited for")
        assert isinstance(outcomes[0], PeerDown)
        right.inbound.answer = None
        await until(lambda: left.transport.statistics().links[0].state == "up")
        assert await left.ask(right.at(1), Text("again")) == Text("again")
        assert not left.losses()


async def test_an_idle_data_lane_that_breaks_at_the_end_of_the_acceptor_alone_comes_back() -> None:
    async with far_pair() as (left, right, network):
        network.forget(1)
        await until(lambda: _is_up(left, 2) and _is_up(right, 2), within=PATIENT.budget)
        assert await left.ask(right.at(1), Text("again")) == Text("again")
        await anyio.sleep(3 * PATIENT.heartbeat)
        assert not left.losses()
        assert not right.losses()


async def test_a_tell_that_nobody_has_begun_to_write_is_a_dead_letter_when_its_link_ends() -> None:
    async with far_pair() as (left, right, _):
        for number in range(9):
            left.tell(right.at(1), Text(str(number)))
        (link,) = left.transport._peer_table.links.values()
        link.apply(link.life.ended("a test wants it so"))
        await until(lambda: len(right.inbound.messages) + len(left.inbound.dead) >= 9)
        buried = [envelope.message for envelope, _ in left.inbound.dead]
        assert [*right.inbound.messages, *buried] == [Text(str(number)) for number in range(9)]
        assert len(buried) >= 8, "only the first goes out at once"


async def test_a_notice_of_a_lane_that_was_replaced_since_changes_nothing() -> None:
    async with far_pair() as (left, right, network):
        network.cut(1)
        await until(lambda: _is_up(left, 2) and _is_up(right, 2))
        right.transport._peer_table.links[left.id]._send(LANE_LOST, [1])
        await anyio.sleep(2 * QUICK.heartbeat)
        assert _is_up(left, 2)
        assert await left.ask(right.at(1), Text("still")) == Text("still")


@pytest.mark.slow
async def test_a_data_lane_dialled_to_a_lost_life_is_not_opened_to_the_next() -> None:
    dials = 0
    late = anyio.Event()

    async def dial(host: str, port: int) -> ByteStream:
        nonlocal dials
        dials += 1
        if dials == 3:  # after control and data: data again
            await late.wait()
        return await connect(host, port)

    async with far_pair(connect=dial) as (left, right, network):
        network.cut(1)
        await until(lambda: dials == 3)
        right.transport._return("a test wants it so")
        await until(lambda: len(left.ups()) == 2 and len(right.ups()) == 2)
        late.set()
        await anyio.sleep(3 * QUICK.heartbeat)
        right.tell(left.at(1), Text("here I am"))
        await until(lambda: left.inbound.messages == [Text("here I am")])
        (link,) = right.transport.statistics().links
        assert link.epoch == 1
        assert [lost.peer.incarnation for lost in left.losses()] == [life(1)]


@pytest.mark.slow
async def test_a_data_lane_comes_back_when_the_peer_has_seen_later_ones() -> None:
    async with far_pair() as (left, right, network):
        # As after two dials at the same time: a lane was open there when it was refused here.
        right.transport._peer_table.links[left.id].epoch = 9
        network.cut(1)
        await until(lambda: right.transport.statistics().links[0].epoch > 9)
        assert await left.ask(right.at(1), Text("again")) == Text("again")
        assert not left.losses()
        assert not right.losses()


async def test_a_reply_for_a_lost_lane_is_dropped_and_not_sent_on_the_next() -> None:
    async with far_pair() as (left, right, network):
        kept: list[Any] = []
        right.inbound.answer = lambda _, reply_to: kept.append(reply_to)
        left.transport.ask(Envelope(right.at(1), Text("one")), lambda _: None)
        await until(lambda: kept)
        network.cut(1)
        await until(lambda: left.transport.statistics().links[0].epoch == 2)
        await until(lambda: right.transport.statistics().links[0].epoch == 2)
        kept[0](Text("late"))
        right.inbound.answer = None
        assert await left.ask(right.at(1), Text("two")) == Text("two")
        assert right.transport.statistics().links[0].late == 1


@pytest.mark.slow
async def test_a_control_lane_that_goes_silent_alone_is_noticed_whatever_the_data_lane_carries() -> None:
    async with far_pair(QUICK) as (left, right, network):

        async def chatter() -> None:
            while True:
                left.tell(right.at(1), Text("still"))
                right.tell(left.at(1), Text("here"))
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chatter)
            await anyio.sleep(QUICK.budget)
            assert not left.losses()
            network.stall(0)
            await until(lambda: left.losses() and right.losses())
            assert any("silent" in lost.reason for lost in left.losses() + right.losses())
            await until(lambda: len(left.ups()) == 2 and len(right.ups()) == 2)
            tasks.cancel_scope.cancel()


async def test_control_and_data_lanes_break_when_the_kernel_hears_nothing_for_the_budget() -> None:
    async with far_pair(QUICK) as (left, right, _):
        for each in (left, right):
            (link,) = each.transport._peer_table.links.values()
            assert link.control is not None
            assert link.lane is not None
            for connection in (link.control, link.lane.connection):
                raw = raw_socket(connection._stream)
                assert raw is not None
                patience = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert patience == QUICK.budget * 1000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no TCP_USER_TIMEOUT")
async def test_a_data_lane_that_the_network_swallows_breaks_within_the_budget_and_comes_back() -> None:
    settings = evolve(QUICK, missed=20)
    async with pair(left={"settings": settings}, right={"settings": settings}) as (left, right):
        (link,) = right.transport._peer_table.links.values()
        assert link.lane is not None
        swallow(link.lane.connection)
        assert isinstance(await left.ask(right.at(1), Text("into the void")), PeerDown)
        await until(lambda: _is_up(left, 2) and _is_up(right, 2))
        assert await left.ask(right.at(1), Text("again")) == Text("again")
        assert not left.losses()
        assert not right.losses()


def swallow(connection: Connection) -> None:
    """Let the kernel drop every packet that comes for a connection: a black hole for it alone."""
    raw = raw_socket(connection._stream)
    assert raw is not None
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0 bytes
    attach_filter = 26  # SO_ATTACH_FILTER
    raw.setsockopt(socket.SOL_SOCKET, attach_filter, struct.pack("HP", 1, ctypes.addressof(nothing)))


@pytest.mark.slow
async def test_a_silent_network_loses_the_peer_and_it_returns_in_a_later_life_without_a_restart() -> None:
    async with far_pair(QUICK) as (left, right, network):
        network.stop()
        await until(lambda: left.losses() and right.losses())
        assert "silent" in left.losses()[0].reason
        assert left.inbound.peers_down[0][:2] == ("right", life(1))
        network.restore()
        await until(lambda: len(left.ups()) == 2 and len(right.ups()) == 2, what="the return")
        lives = (left.transport.identity.incarnation, right.transport.identity.incarnation)
        assert lives == (life(2), life(1)), (
            "one life is given up, the dialler's where both have no other link"
        )
        assert right.ups()[1].peer.incarnation == life(2)
        assert await left.ask(right.at(1), Text("x")) == Text("x")


@pytest.mark.slow
async def test_the_node_with_more_links_keeps_its_life() -> None:
    async with (
        node("worker", settings=QUICK) as worker,
        proxy(worker.port) as network,
        node("head", role="head", settings=QUICK) as head,
        node("gateway", role="gateway", settings=QUICK) as gateway,
    ):
        gateway.transport.dial("127.0.0.1", head.port)
        gateway.transport.dial("127.0.0.1", network.port)
        await until(lambda: len(gateway.ups()) == 2 and worker.ups())
        network.stop()
        await until(lambda: gateway.losses() and worker.losses())
        await until(lambda: counted_links(gateway) == 1, what="it has not stood still of late")
        network.restore()
        await until(lambda: len(gateway.ups()) == 3)
        assert gateway.transport.identity.incarnation == life(1)
        assert worker.transport.identity.incarnation == life(2)
        assert not head.losses()


@pytest.mark.slow
async def test_a_peer_whose_connections_were_closed_is_doubted_until_it_is_back() -> None:
    async with far_pair() as (left, right, network):
        network.stop()
        network.cut()
        await until(lambda: left.doubts and right.doubts, within=PATIENT.budget / 2)
        network.restore()
        await until(lambda: len(left.doubts) == len(right.doubts) == 2, what="they are back")
        for each, peer in ((left, right), (right, left)):
            doubted, trusted = each.doubts
            assert isinstance(doubted, PeerDoubted)
            assert isinstance(trusted, PeerTrusted)
            assert (doubted.peer, trusted.peer) == 2 * (each.ups()[0].peer,)
            assert doubted.peer.node == peer.id
            assert doubted.reason
            assert not each.losses()
        assert await left.ask(right.at(1), Text("x")) == Text("x")


async def test_a_refused_connection_means_that_the_process_is_gone() -> None:
    slow = TransportSettings(heartbeat=5.0)
    async with far_pair(slow) as (left, _, network):
        network.vanish()
        await until(lambda: left.losses(), within=slow.budget / 2, what="no silence is waited for")
        assert "its process is gone" in left.losses()[0].reason


async def test_a_restarted_peer_is_lost_and_up_again_without_waiting_for_silence() -> None:
    slow = TransportSettings(heartbeat=5.0, reconnect_cap=0.1)
    async with node("right", role="head", settings=slow) as right:
        async with node("left", settings=slow) as left:
            left.transport.dial("127.0.0.1", right.port)
            await until(lambda: right.ups())
            left.transport._tasks.cancel_scope.cancel()  # a crash: nobody says goodbye
            await anyio.sleep(0.05)
        async with node("left", counter=2, settings=slow) as again:
            again.transport.dial("127.0.0.1", right.port)
            await until(lambda: len(right.ups()) == 2, within=slow.budget / 2)
            assert [type(event) for event in right.events] == [PeerUp, PeerLost, PeerUp]
            assert right.inbound.peers_down[0][1] == life(1)


@pytest.mark.slow
async def test_a_live_duplicate_of_a_node_id_is_refused_with_a_sentence() -> None:
    async with node("right", role="head") as right, node("left", counter=1) as left:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: right.ups())
        async with (
            node("left", counter=1, next_incarnation=lambda: life(9)) as copy,
            node("left", counter=5) as later,
        ):
            copy.transport._peer_table.identity = copy.transport.identity.reborn(life(1, 8))
            copy.transport.dial("127.0.0.1", right.port)
            later.transport.dial("127.0.0.1", right.port)
            await until(lambda: copy.refusals and later.refusals)
            for refused in (copy, later):
                assert "the head at 127.0.0.1:" in refused.refusals[0][1]
                assert "was its data directory copied?" in refused.refusals[0][1]
            await anyio.sleep(0.5)
            assert len(copy.refusals) == 1, "a sentence is reported once, not at each attempt"
        assert not right.losses()


@pytest.mark.slow
async def test_two_nodes_that_dial_each_other_have_one_link() -> None:
    async with node("a") as left, node("b") as right:
        left.transport.dial("127.0.0.1", right.port)
        right.transport.dial("127.0.0.1", left.port)
        await until(lambda: left.ups() and right.ups())
        await anyio.sleep(0.5)
        assert (len(left.events), len(right.events)) == (1, 1)
        assert await left.ask(right.at(1), Text("x")) == Text("x")
        assert await right.ask(left.at(1), Text("y")) == Text("y")
        assert left.transport.statistics().links[0].epoch <= 3


@pytest.mark.slow
async def test_a_second_address_of_the_same_peer_changes_nothing() -> None:
    async with far_pair() as (left, right, _):
        left.transport.dial("127.0.0.1", right.port)
        await anyio.sleep(0.5)
        assert len(left.events) == len(right.events) == 1
        assert not left.refusals


@pytest.mark.slow
async def test_a_node_that_stood_still_does_not_declare_everyone_down() -> None:
    async with far_pair(QUICK) as (left, right, _):
        time.sleep(3 * QUICK.budget)  # noqa: ASYNC251 - the loop is meant to stand still
        await anyio.sleep(0.3)
        assert not left.losses()
        assert not right.losses()
        assert left.transport.statistics().stood_still > QUICK.budget


async def test_a_closed_dial_ends_the_link_on_both_sides_at_once() -> None:
    async with node("right") as right, node("left") as left:
        dial = left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.ups() and right.ups())
        dial.close()
        dial.close()
        assert len(left.losses()) == 1
        await until(lambda: right.losses(), within=PATIENT.budget / 2)
        assert "goodbye" in right.losses()[0].reason
        await anyio.sleep(0.3)
        assert len(left.ups()) == 1


@pytest.mark.slow
async def test_a_life_that_cannot_be_saved_is_not_begun_until_it_can() -> None:
    disk_full = True

    def next_life() -> Incarnation:
        if disk_full:
            raise OSError(28, "No space left on device")
        return life(2)

    async with far_pair(QUICK, next_incarnation=next_life) as (left, right, network):
        network.stop()
        await until(lambda: left.losses() and right.losses())
        network.restore()
        await anyio.sleep(0.5)
        assert left.transport.identity.incarnation == life(1)
        assert len(left.ups()) == 1
        disk_full = False
        await until(lambda: len(left.ups()) == 2)
        assert left.transport.identity.incarnation == life(2)
        assert left.transport.statistics().lives == 1


@pytest.mark.slow
async def test_the_links_of_a_node_drop_and_return_when_it_takes_a_later_life_and_its_tunnels_stay() -> None:
    async def open_echo(peer: Peer, request: object) -> anyio.abc.ByteStream:
        return await anyio.connect_tcp("127.0.0.1", echo_port)

    async def echo(stream: anyio.abc.SocketStream) -> None:
        async for chunk in stream:
            await stream.send(chunk)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    echo_port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django
    async with (
        listener,
        anyio.create_task_group() as tasks,
        node("head", role="head", settings=QUICK) as head,
        proxy(head.port) as network,
        node("worker", settings=QUICK, on_tunnel=open_echo) as worker,
        node("gateway", role="gateway", settings=QUICK) as gateway,
    ):
        tasks.start_soon(listener.serve, own_connection(echo))
        worker.transport.dial("127.0.0.1", network.port)
        gateway.transport.dial("127.0.0.1", head.port)
        gateway.transport.dial("127.0.0.1", worker.port)
        await until(lambda: len(gateway.ups()) == 2 and len(head.ups()) == 2)
        tunnel = await open_tunnel(gateway.transport, worker.id, Open("r"), timeout=60)
        network.stop()
        await until(lambda: head.losses() and worker.losses())
        await until(lambda: counted_links(head) == counted_links(worker) == 1)
        network.restore()
        await until(lambda: worker.transport.identity.incarnation == life(2))
        await until(lambda: len(gateway.ups()) == 3)
        assert [lost.peer.node for lost in gateway.losses()] == ["worker"]
        assert gateway.transport.identity.incarnation == head.transport.identity.incarnation == life(1)
        await tunnel.send(b"still there")
        assert await tunnel.receive() == b"still there"
        async with await open_tunnel(gateway.transport, worker.id, Open("r"), timeout=60) as other:
            await other.send(b"on a lane of the new life")
            assert await other.receive() == b"on a lane of the new life"
            assert gateway.transport.statistics().tunnel_lanes == 2
        await tunnel.aclose()
        await until(lambda: gateway.transport.statistics().tunnel_lanes == 1, what="the old lane is gone")
        await until(lambda: worker.transport.statistics().tunnel_lanes == 1)
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_many_reconnects_leave_nothing_behind() -> None:
    async with far_pair() as (left, right, network):
        for epoch in range(2, 12):
            network.cut()
            for each in (left, right):
                await until(lambda each=each, epoch=epoch: _is_up(each, epoch))  # type: ignore[misc]
        assert await left.ask(right.at(1), Text("x")) == Text("x")
        assert not left.losses()
        await until(lambda: right.transport.statistics().connections == 2)


def counted_links(here: Node) -> int:
    """Return how many links a node says that it has: none for a while after it stood still."""
    return here.transport._peer_table.hello(Lane.CONTROL, bytes(NONCE_SIZE)).links


def _is_up(there: Node, epoch: int) -> bool:
    link = there.transport.statistics().links[0]
    return link.state == "up" and link.epoch == epoch
