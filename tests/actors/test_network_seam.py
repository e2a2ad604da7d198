"""Local and remote look the same to whoever sends, and a node's lives are kept apart."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    GONE,
    KILLED,
    NORMAL,
    TEMPORARY,
    ActorGone,
    Address,
    AskTimeout,
    CallCycle,
    Down,
    Envelope,
    Failed,
    Incarnation,
    MailboxFull,
    MailboxLimits,
    NodeDown,
    NodeId,
    PeerDown,
    RemoteFailure,
    watching,
)
from sllm_actors.testing import TestSystem

from .memory_network import LEFT, RIGHT, conforms, pair
from .scripted import Scripted, start

pytestmark = pytest.mark.anyio


async def hang(_actor: Scripted, _message: Any) -> None:
    await anyio.sleep_forever()


async def test_tell_and_ask_by_number_and_by_name() -> None:
    async with pair() as both:
        assert conforms(both.left_net, both.left)
        probe = await both.right.probe("there")
        by_number = both.left.ref(probe.ref.address)
        by_name = both.left.named("there", RIGHT)
        by_number.tell("one")
        by_name.tell("two")
        assert [await probe.next(), await probe.next()] == ["one", "two"]
        got: list[Any] = []

        async def ask() -> None:
            got.append(await by_name.ask("three", timeout=60))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await probe.next()
            probe.replies.popleft()
            probe.replies.popleft()
            probe.reply("three")
        assert got == ["three"]
        assert [envelope.remaining for envelope in both.left_net.sent] == [None, None, 60]


async def test_errors_are_those_of_a_local_ask() -> None:
    async with pair() as both:

        async def fail(_actor: Scripted, message: Any) -> None:
            raise ValueError(message)

        failing = both.left.ref((await start(both.right, fail, restart=TEMPORARY)).address)
        with pytest.raises(RemoteFailure, match="ValueError: x"):
            await failing.ask("x", timeout=60)
        with pytest.raises(ActorGone):
            await failing.ask("x", timeout=60)
        with pytest.raises(ActorGone, match="nobody goes by that name"):
            await both.left.named("nobody", RIGHT).ask("x", timeout=60)
        full = await start(both.right, hang, child_id="b", mailbox=MailboxLimits(messages=1), shutdown=0)
        full.tell(1)
        await anyio.wait_all_tasks_blocked()
        full.tell(2)
        with pytest.raises(MailboxFull):
            await both.left.ref(full.address).ask("x", timeout=60)
        assert both.left_net.forgotten == 0


async def test_a_deadline_or_a_cancellation_forgets_the_ask_on_the_network() -> None:
    async with pair() as both:
        hanging = both.left.ref((await start(both.right, hang, shutdown=0)).address)
        both.left_net.held = True  # else the other side's clock might be first to answer
        with pytest.raises(AskTimeout):
            await hanging.ask(1, timeout=0.05)
        assert both.left_net.forgotten == 1
        with anyio.move_on_after(0.05):
            await hanging.ask(1, timeout=60)
        assert both.left_net.forgotten == 2
        assert both.left.statistics().pending_asks == 0


async def test_a_message_whose_remote_asker_must_have_given_up_is_skipped() -> None:
    async with pair() as both:
        handled: list[Any] = []
        release = anyio.Event()

        async def handle(_actor: Scripted, message: Any) -> None:
            handled.append(message)
            await release.wait()

        ref = both.left.ref((await start(both.right, handle)).address)
        ref.tell("first")
        with pytest.raises(AskTimeout):
            await ref.ask("late", timeout=0.05)
        await anyio.sleep(0.05)
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert handled == ["first"]


async def test_without_a_link_an_ask_fails_at_once_and_a_tell_is_a_dead_letter() -> None:
    async with pair() as both:
        both.left_net.cut = True
        ref = both.left.named("there", RIGHT)
        ref.tell(1)
        with pytest.raises(PeerDown, match="the link is down"):
            await ref.ask(1, timeout=60)
        assert both.left.statistics().dead_letters_by_reason == {"the link is down": 1}


async def test_without_a_network_there_is_nobody_abroad() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        ref = system.named("there", RIGHT)
        ref.tell(1)
        with pytest.raises(PeerDown, match="no network"):
            await ref.ask(1, timeout=60)
        probe.monitor(ref)
        assert isinstance((await probe.expect(Down)).reason, NodeDown)
        assert system.statistics().dead_letters == 2
        probe.monitor(probe.ref)
        system.on_monitor(RIGHT, Address(system.node, None, "nobody"), 1)


async def test_the_sender_and_the_call_chain_travel_with_the_message() -> None:
    async with pair() as both:

        async def ask_on(actor: Scripted, message: Any) -> Any:
            actor.context.system.named("there", RIGHT).tell("told")
            return await actor.context.system.named("there", RIGHT).ask(message, timeout=60)

        async def ask_back(actor: Scripted, message: Any) -> Any:
            if message == "told":
                return None
            try:
                await actor.context.system.named("here", LEFT).ask("again", timeout=60)
            except CallCycle:
                return "cycle"

        here = await start(both.left, ask_on, name="here")
        await start(both.right, ask_back, name="there")
        assert await here.ask("go", timeout=60) == "cycle"
        told, asked = both.left_net.sent
        assert told.sender == asked.sender == here.address
        assert (told.metadata.call_chain, asked.metadata.call_chain) == ((), (f"left/{here.address.key}",))


# ---- monitors


async def test_a_remote_end_is_one_down_with_its_reason_after_earlier_messages() -> None:
    async with pair() as both:
        probe = await both.left.probe()

        async def last_words(actor: Scripted, _message: Any) -> None:
            actor.context.system.ref(probe.ref.address).tell("last words")
            actor.context.stop(Failed("Deliberate", "x: y"))

        target = await start(both.right, last_words, restart=TEMPORARY)
        ref = both.left.ref(target.address)
        watch = probe.monitor(ref)
        both.right_net.held = True
        target.tell(1)
        await anyio.wait_all_tasks_blocked()
        both.right_net.release()
        assert await probe.next() == "last words"
        assert await probe.next() == Down(ref, Failed("Deliberate", "x: y"), watch)
        both.left.on_down(RIGHT, watch, "normal")
        await probe.expect_nothing()


async def test_a_remote_actor_that_is_gone_already_is_down_at_once() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        probe.monitor(both.left.named("nobody", RIGHT))
        assert (await probe.expect(Down)).reason == GONE


async def test_demonitor_takes_it_back_here_and_there() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        target = await start(both.right)
        watch = probe.monitor(both.left.ref(target.address))
        assert both.right.statistics().remote_monitors == 1
        probe.context.demonitor(watch)
        probe.context.demonitor(watch)
        assert both.right.statistics().remote_monitors == both.left.statistics().remote_monitors == 0
        both.left.on_down(RIGHT, watch, "normal")
        await both.right.stop_child("a")
        await probe.expect_nothing()


async def test_a_watcher_that_ends_watches_no_more() -> None:
    async with pair() as both:
        target = await start(both.right)

        async def watch(actor: Scripted, _message: Any) -> None:
            actor.context.monitor(actor.context.system.ref(target.address))
            actor.context.stop()

        watcher = await start(both.left, watch, restart=TEMPORARY)
        await watcher.ask(1, timeout=60)
        await anyio.wait_all_tasks_blocked()
        assert both.right.statistics().remote_monitors == 0
        assert both.left_net.calls == ["monitor", "demonitor"]


async def test_a_lost_node_is_one_down_for_each_monitor_of_that_life() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        target = await start(both.right)
        old = both.left.ref(target.address)
        new = both.left.ref(Address(RIGHT, Incarnation(2, 0), 99))
        both.left_net.held = True
        watches = [probe.monitor(old), probe.monitor(both.left.named("there", RIGHT))]
        probe.monitor(new)
        both.left.on_peer_down(RIGHT, Incarnation(1, 22), "silent for 3 s")
        got = [await probe.expect(Down), await probe.expect(Down)]
        assert [down.watch for down in got] == watches
        assert {down.reason for down in got} == {NodeDown("silent for 3 s")}
        await probe.expect_nothing()
        both.left.on_peer_down(RIGHT, Incarnation(1, 22), "again")
        await probe.expect_nothing()


async def test_a_down_from_another_node_than_the_targets_is_ignored() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        watch = probe.monitor(both.left.ref((await start(both.right)).address))
        both.left.on_down(NodeId("stranger"), watch, "normal")
        await probe.expect_nothing()


async def test_a_lost_peer_is_not_told_of_what_it_watched() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        target = await start(both.right)
        probe.monitor(both.left.ref(target.address))
        both.right.on_peer_down(LEFT, both.left.incarnation, "closed")
        await both.right.stop_child("a")
        assert both.right_net.calls == []
        both.left.on_peer_down(RIGHT, both.right.incarnation, "closed")


async def test_a_monitor_that_comes_twice_is_one() -> None:
    async with pair() as both:
        target = await start(both.right)
        for _ in range(2):
            both.right.on_monitor(LEFT, target.address, 7)
        await both.right.stop_child("a")
        assert both.right_net.calls == ["down left"]
        both.right.on_demonitor(LEFT, target.address, 7)


async def test_a_down_that_has_come_can_be_taken_back_while_it_waits_to_be_handled() -> None:
    async with pair() as both:
        target = await start(both.right)
        log: list[Any] = []

        async def handle(actor: Scripted, message: Any) -> None:
            log.append(message)
            monitor = actor.context.monitor(both.left.ref(target.address))
            await both.right.stop_child("a")
            actor.context.demonitor(monitor)

        watcher = await start(both.left, handle)
        await watcher.ask("watch", timeout=60)
        await anyio.wait_all_tasks_blocked()
        assert log == ["watch"]
        assert both.left_net.calls == ["monitor"]


async def test_a_peer_that_loses_interest_while_downs_are_sent_gets_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pair() as both:
        target = await start(both.right)
        told: list[int] = []

        def down(peer: NodeId, watch: int, _reason: str) -> None:
            told.append(watch)
            both.right.on_demonitor(peer, target.address, 2)

        monkeypatch.setattr(both.right_net, "down", down)
        for watch in (1, 2):
            both.right.on_monitor(LEFT, target.address, watch)
        await both.right.stop_child("a")
        assert told == [1]


async def test_a_peer_that_watches_too_much_is_told_down_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_GUESTS", 2)
    async with pair() as both:
        probe = await both.left.probe()
        target = await start(both.right)
        abroad = both.left.ref(target.address)
        first, second, third = [probe.monitor(abroad) for _ in range(3)]
        refused = await probe.expect(Down)
        assert refused.watch == third
        assert refused.reason == Failed("MonitorRefused", "node left watches 2 actors here already")
        assert both.right.statistics().refused_monitors == 1
        both.right.on_monitor(NodeId("another"), target.address, 1)
        both.right.on_monitor(LEFT, target.address, first)
        assert both.right.statistics().refused_monitors == 1
        probe.context.demonitor(first)
        fourth = probe.monitor(abroad)
        await both.right.stop_child("a")
        assert {(await probe.expect(Down)).watch for _ in range(2)} == {second, fourth}
        await probe.expect_nothing()


# ---- lives of a node


async def test_a_new_life_makes_old_refs_stale_while_the_actors_live_on() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        target = await start(both.right, name="there")
        old = both.left.ref(target.address)
        probe.monitor(old)
        both.right.incarnation = both.right.incarnation
        assert both.right.statistics().remote_monitors == 1
        both.right.incarnation = Incarnation(2, 5)
        assert both.right.statistics().remote_monitors == 0
        both.left.on_peer_down(RIGHT, Incarnation(1, 22), "came back as 2")
        with pytest.raises(ActorGone):
            await old.ask(1, timeout=60)
        assert await both.left.named("there", RIGHT).ask(1, timeout=60) == 1
        assert target.address.incarnation == Incarnation(2, 5)
        assert both.right.address_of(target) == target.address
        new = both.left.ref(target.address)
        assert new != old
        assert await new.ask(1, timeout=60) == 1
        assert await target.ask(1, timeout=60) == 1


async def test_an_address_of_this_node_comes_back_as_the_local_ref() -> None:
    async with pair() as both:
        target = await start(both.right)
        address = target.address
        assert both.right.ref(address) == target
        assert hash(both.right.ref(address)) == hash(target)
        stale = both.right.ref(Address(RIGHT, Incarnation(0, 0), address.key))
        assert stale != target
        with pytest.raises(ActorGone):
            await stale.ask(1, timeout=60)
        await both.right.stop_child("a")
        with pytest.raises(ActorGone):
            await both.right.ref(address).ask(1, timeout=60)


async def test_refs_are_values() -> None:
    async with pair() as both:
        name, other = both.left.named("x", RIGHT), both.left.named("y", RIGHT)
        assert name == both.left.named("x", RIGHT)
        assert len({name, both.left.named("x", RIGHT), other}) == 2
        assert name != "x"
        assert repr(name) == "<ActorRef right/x>"
        assert name.address == Address(RIGHT, None, "x")


async def test_a_ref_that_comes_back_after_its_actor_has_ended_is_still_the_same() -> None:
    async with pair() as both:
        target = await start(both.right)
        other = await start(both.right, child_id="b")
        address = target.address
        await both.right.stop_child("a")
        back = both.right.ref(address)
        assert back.cell is None
        assert back == target
        assert target == back
        assert {target: "kept"}[back] == "kept"
        assert back != other
        assert back != both.left.ref(address)


async def test_an_envelope_for_somebody_else_reaches_nobody() -> None:
    async with pair() as both:
        got: list[Any] = []
        strange = Envelope(Address(NodeId("stranger"), None, "x"), 1, remaining=5)
        both.right.on_envelope(LEFT, strange, got.append)
        assert isinstance(got[0], ActorGone)


async def test_a_kill_abroad_is_told_as_such() -> None:
    async with pair() as both:
        probe = await both.left.probe()
        target = await start(both.right, restart=TEMPORARY)
        probe.monitor(both.left.ref(target.address))
        assert target.cell is not None
        target.cell.kill()
        assert (await probe.expect(Down)).reason == KILLED
        assert NORMAL.is_normal
