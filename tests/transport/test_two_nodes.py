"""What two linked nodes can do for their actor systems."""

from __future__ import annotations

import anyio
import pytest
from attrs import evolve

from sllm_actors.actors.errors import MailboxFull, PeerDown, UnknownMessage
from sllm_actors.actors.identity import Address
from sllm_actors.actors.network import Envelope, Metadata

from .kit import QUICK, Blob, Text, Unregistered, Whereabouts, life, node, pair, until

pytestmark = pytest.mark.anyio


async def test_a_tell_arrives_with_its_sender_and_metadata() -> None:
    async with pair() as (left, right):
        metadata = Metadata("req-1", ("left/3",), {"tenant": "a"})
        left.tell(right.at(5), Text("hello"), sender=left.at(3), metadata=metadata)
        left.tell(right.at("router"), Text("by name"))
        await until(lambda: len(right.inbound.got) == 2)
        peer, first = right.inbound.got[0]
        assert peer == "left"
        assert (first.target, first.sender, first.message) == (right.at(5), left.at(3), Text("hello"))
        assert (first.metadata, first.remaining) == (metadata, None)
        assert right.inbound.got[1][1].target == right.at("router")


async def test_messages_of_one_sender_arrive_in_order() -> None:
    async with pair() as (left, right):
        for number in range(2000):
            left.tell(right.at(1), Text(str(number)))
        await until(lambda: len(right.inbound.got) == 2000)
        assert right.inbound.messages == [Text(str(number)) for number in range(2000)]


async def test_an_ask_gets_its_reply_in_both_directions() -> None:
    async with pair() as (left, right):
        sent = Whereabouts(Address(right.id, life(4), 9), (1.0, 2.5), None)
        assert await left.ask(right.at(1), sent, remaining=3.0) == sent
        assert right.inbound.got[0][1].remaining == 3.0
        assert await right.ask(left.at(1), Text("back")) == Text("back")


async def test_a_typed_error_comes_back_to_the_asker() -> None:
    async with pair() as (left, right):
        right.inbound.answer = lambda _, reply_to: reply_to(MailboxFull("full"))
        outcome = await left.ask(right.at(1), Text())
        assert isinstance(outcome, MailboxFull)


async def test_a_message_outside_the_catalog_is_refused_at_its_sender() -> None:
    async with pair() as (left, right):
        assert isinstance(await left.ask(right.at(1), Unregistered()), UnknownMessage)
        left.tell(right.at(1), Unregistered())
        assert len(left.inbound.dead) == 1
        assert await left.ask(right.at(1), Text("still here")) == Text("still here")


async def test_a_large_message_arrives_whole() -> None:
    async with pair() as (left, right):
        blob = Blob(bytes(range(256)) * 8192)
        assert await left.ask(right.at(1), blob) == blob


async def test_monitor_and_down_reach_the_other_side() -> None:
    async with pair() as (left, right):
        left.transport.monitor(right.at(4), 11)
        left.transport.demonitor(right.at(4), 11)
        await until(lambda: right.inbound.demonitors)
        assert right.inbound.monitors == [("left", right.at(4), 11)]
        assert right.inbound.demonitors == [("left", right.at(4), 11)]
        for number in range(100):
            right.tell(left.at(1), Text(str(number)))
        right.transport.down(left.id, 11, "it crashed")
        await until(lambda: left.inbound.downs)
        assert left.inbound.downs == [("right", 11, "it crashed")]
        assert left.inbound.log[-1] == 11
        assert len(left.inbound.log) == 101


async def test_without_a_link_everything_fails_at_once() -> None:
    async with pair() as (left, right):
        nowhere = Address(right.id, life(99), 1)
        left.tell(nowhere, Text())
        assert len(left.inbound.dead) == 1
        assert isinstance(await left.ask(nowhere, Text()), PeerDown)
        left.transport.monitor(nowhere, 5)
        assert left.inbound.downs[0][:2] == ("right", 5)


@pytest.mark.parametrize("how", ["exit", "cancel"])
async def test_a_clean_stop_is_known_at_once_on_both_sides(how: str) -> None:
    outcomes: list[object] = []
    slow = evolve(QUICK, heartbeat=5.0)
    async with node("right", role="head", settings=slow) as right:
        with anyio.CancelScope() as scope:
            async with node("left", settings=slow) as left:
                left.transport.dial("127.0.0.1", right.port)
                await until(lambda: left.ups() and right.ups())
                right.inbound.answer = lambda _, reply_to: None
                left.transport.ask(Envelope(right.at(1), Text()), outcomes.append)
                await until(lambda: right.inbound.got)
                if how == "cancel":
                    scope.cancel()
                    await anyio.sleep_forever()
        assert isinstance(outcomes[0], PeerDown)
        assert "has stopped" in left.losses()[0].reason
        await until(lambda: right.losses(), within=slow.budget / 2)
        (lost,) = right.losses()
        assert (lost.reason, lost.left) == ("it said goodbye: it stops", True)
        assert not left.losses()[0].left


@pytest.mark.slow
async def test_a_heartbeat_keeps_a_quiet_link_up() -> None:
    async with pair() as (left, right):
        await anyio.sleep(1.0)
        assert not left.losses()
        assert not right.losses()
        assert await left.ask(right.at(1), Text("x")) == Text("x")
