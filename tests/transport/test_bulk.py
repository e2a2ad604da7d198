"""Bulk beside small: windows, shares and chunks as they are felt on a real connection."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from attrs import evolve

from sllm_actors.actors.errors import MailboxFull, RemoteFailure
from sllm_actors.actors.network import Envelope, ReplyTo
from sllm_actors.transport.control import DOWN

from .kit import PATIENT, Blob, Text, node, pair, until
from .proxy import proxy

pytestmark = pytest.mark.anyio


async def test_small_asks_go_on_during_a_bulk_transfer_within_the_window() -> None:
    async with pair() as (left, right):
        blob = Blob(bytes(1536 * 1024))
        most = 0
        for _ in range(4):
            left.tell(right.at(1), blob)
            left.tell(right.at(2), blob)
            assert await left.ask(right.at(9), Text("small")) == Text("small")
            most = max(most, left.transport.statistics().links[0].in_flight)
        await until(lambda: sum(isinstance(each, Blob) for each in right.inbound.messages) == 8, within=60)
        arrived = [isinstance(each, Blob) for each in right.inbound.messages]
        small = [number for number, is_blob in enumerate(arrived) if not is_blob]
        sent_before = [2 * (round_ + 1) for round_ in range(4)]
        assert all(sum(arrived[:place]) < sent for place, sent in zip(small, sent_before, strict=True)), (
            arrived
        )
        assert most <= PATIENT.window


async def test_the_window_is_given_back_before_what_came_is_handled() -> None:
    async with pair() as (left, right):
        left.tell(right.at(1), Text("the lanes are up"))
        await until(lambda: right.inbound.messages)
        lane = right.transport._peer_table.links[left.id].lane
        assert lane is not None
        owed: list[int] = []

        def handle(_envelope: Envelope, reply_to: ReplyTo) -> None:
            owed.append(lane._consumed)
            reply_to(None)

        right.inbound.answer = handle
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(left.ask, right.at(1), Blob(bytes(64 * 1024)))
        assert max(owed) < PATIENT.window // 4


async def test_a_down_signal_waits_for_the_bulk_that_was_sent_before_it() -> None:
    async with pair() as (left, right):
        blob = Blob(bytes(1024 * 1024))
        for receiver in range(4):
            right.tell(left.at(receiver), blob)
        right.transport.down(left.id, 7, "gone")
        right.tell(left.at(99), Text("after"))
        await until(lambda: left.inbound.downs, within=60)
        before = left.inbound.log[: left.inbound.log.index(7)]
        assert sum(isinstance(each, Blob) for each in before) == 4


async def test_a_peer_whose_down_signals_wait_for_what_never_comes_is_lost_and_costs_a_bounded_heap() -> None:
    few = evolve(PATIENT, control_messages=100)
    async with pair(left={"settings": few}) as (left, right):
        link = right.transport._peer_table.links[left.id]
        for watch in range(101):
            link._send(DOWN, [watch, "gone", link.epoch + 5, 1])
        await until(lambda: left.losses() and right.losses())
        assert "too many of its down signals wait" in left.losses()[0].reason
        assert len(left.inbound.downs) == 100, "those that waited are due now, and the loss tells of the rest"


async def test_a_down_signal_is_not_lost_with_the_lane_that_it_waited_for() -> None:
    async with (
        node("right") as right,
        proxy(right.port) as network,
        node("left", settings=PATIENT) as left,
    ):
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        network.delay = 0.02
        for receiver in range(4):
            right.tell(left.at(receiver), Blob(bytes(1024 * 1024)))
        right.transport.down(left.id, 7, "gone")
        assert not left.inbound.downs
        network.cut(1)
        network.delay = 0.0
        await until(lambda: left.inbound.downs)
        assert left.inbound.downs == [("right", 7, "gone")]
        await until(lambda: len(right.inbound.dead) >= 3)
        assert "the lane was lost" in right.inbound.dead[0][1]


async def test_a_message_over_the_limit_is_rejected_where_it_is_sent() -> None:
    async with pair(right={"settings": evolve(PATIENT, max_message=100_000)}) as (left, right):
        outcome = await left.ask(right.at(1), Blob(bytes(100_001)))
        assert isinstance(outcome, RemoteFailure)
        assert outcome.type_name == "MessageTooLarge"
        left.tell(right.at(1), Blob(bytes(100_001)))
        assert "MessageTooLarge" in left.inbound.dead[0][1]
        assert await left.ask(right.at(1), Blob(bytes(90_000))) == Blob(bytes(90_000))


async def test_a_reply_over_the_limit_is_an_error_to_its_asker() -> None:
    async with pair(left={"settings": evolve(PATIENT, max_message=100_000)}) as (left, right):
        right.inbound.answer = lambda _, reply_to: reply_to(Blob(bytes(200_000)))
        outcome = await left.ask(right.at(1), Text())
        assert isinstance(outcome, RemoteFailure)
        assert outcome.type_name == "MessageTooLarge"


async def test_a_full_way_rejects_an_ask_and_nothing_was_sent() -> None:
    tight = evolve(PATIENT, queue_bytes=256 * 1024, receiver_queue_bytes=256 * 1024)
    async with node("right") as right, proxy(right.port) as network, node("left", settings=tight) as left:
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        network.stop()
        outcomes: list[Any] = []
        for _ in range(20):
            left.transport.ask(Envelope(right.at(1), Blob(bytes(60_000))), outcomes.append)
        assert outcomes
        assert all(isinstance(each, MailboxFull) for each in outcomes)
        rejected = len(outcomes)
        network.restore()
        await until(lambda: len(outcomes) == 20)
        assert len(right.inbound.got) == 20 - rejected


async def test_a_forgotten_ask_drops_its_late_reply() -> None:
    async with pair() as (left, right):
        kept: list[Any] = []
        right.inbound.answer = lambda _, reply_to: kept.append(reply_to)
        outcomes: list[Any] = []
        forget = left.transport.ask(Envelope(right.at(1), Text()), outcomes.append)
        await until(lambda: kept)
        forget()
        forget()
        kept[0](Text("late"))
        await until(lambda: left.transport.statistics().links[0].late == 1)
        assert not outcomes


async def test_an_overflowing_control_lane_loses_the_peer() -> None:
    few = evolve(PATIENT, control_messages=100)
    async with node("right") as right, proxy(right.port) as network, node("left", settings=few) as left:
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        network.stop()
        for watch in range(101):
            left.transport.monitor(right.at(1), watch)
        assert "control lane is full" in left.losses()[0].reason
        assert left.inbound.peers_down
        left.transport.monitor(right.at(1), 200)
        assert left.inbound.downs[-1][1] == 200


async def test_ten_thousand_monitors_and_their_downs_all_arrive() -> None:
    async with pair() as (left, right):
        for watch in range(10_000):
            left.transport.monitor(right.at(watch), watch)
        await until(lambda: len(right.inbound.monitors) == 10_000, within=60)
        for watch in range(10_000):
            right.transport.down(left.id, watch, "the machine is gone")
        await until(lambda: len(left.inbound.downs) == 10_000, within=60)
        assert [watch for _, watch, _ in left.inbound.downs] == list(range(10_000))
        await until(lambda: right.transport.statistics().links[0].unacknowledged == 0)


async def test_an_asker_whose_reply_found_no_way_back_is_told_that_the_message_was_handled() -> None:
    # MailboxFull would promise that the receiver never saw it.
    tight = evolve(PATIENT, queue_bytes=64 * 1024, receiver_queue_bytes=64 * 1024)
    async with pair(right={"settings": tight}) as (left, right):
        outcome = await left.ask(right.at(1), Blob(bytes(1024 * 1024)))
        assert right.inbound.messages, "it was handled"
        assert isinstance(outcome, RemoteFailure)
        assert outcome.type_name == "ReplyLost"
