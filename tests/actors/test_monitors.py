"""On one node: exactly one Down per monitor, after what was delivered before; none once it is taken back."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sllm_actors.actors import GONE, NORMAL, SHUTDOWN, TEMPORARY, Down, MonitorId
from sllm_actors.actors.cell import Cell
from sllm_actors.testing import TestSystem

from .scripted import Scripted, start

pytestmark = pytest.mark.anyio


async def stop(actor: Scripted, _message: Any) -> None:
    actor.context.stop()


async def test_each_monitor_gets_exactly_one_down() -> None:
    async with TestSystem() as system:
        first, second = await system.probe(), await system.probe()
        ref = await start(system, stop, restart=TEMPORARY)
        watches = [first.monitor(ref), first.monitor(ref)]
        other = second.monitor(ref)
        ref.tell(1)
        assert [await first.next(), await first.next()] == [Down(ref, NORMAL, watch) for watch in watches]
        assert await second.next() == Down(ref, NORMAL, other)
        await first.expect_nothing()


async def test_who_is_gone_already_is_down_at_once() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        ref = await start(system)
        await system.stop_child("a")
        for gone in (ref, system.named("nobody")):
            probe.monitor(gone)
            assert (await probe.expect(Down)).reason == GONE


async def test_a_monitor_by_name_is_of_whoever_has_it_now() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        ref = await start(system, stop, name="n")
        name = system.named("n")
        probe.monitor(name)
        ref.tell(1)
        assert (await probe.expect(Down)).ref == name
        await anyio.wait_all_tasks_blocked()
        system.named("n").tell(1)
        await probe.expect_nothing()


async def test_down_comes_after_the_last_words() -> None:
    async with TestSystem() as system:
        probe = await system.probe()

        async def last_words(actor: Scripted, _message: Any) -> None:
            for number in range(100):
                probe.ref.tell(number)
            actor.context.stop()

        ref = await start(system, last_words, restart=TEMPORARY)
        probe.monitor(ref)
        ref.tell(1)
        assert [await probe.next() for _ in range(100)] == list(range(100))
        await probe.expect(Down)


async def test_after_demonitor_no_down_comes_even_if_it_was_queued() -> None:
    async with TestSystem() as system:
        target = await start(system, child_id="t")
        log: list[Any] = []
        release = anyio.Event()
        watches: list[MonitorId] = []

        async def handle(actor: Scripted, message: Any) -> None:
            log.append(message)
            if message == "watch":
                watches.extend([actor.context.monitor(target), actor.context.monitor(target)])
                await release.wait()
                actor.context.demonitor(watches[0])
                actor.context.demonitor(watches[0])

        watcher = await start(system, handle)
        watcher.tell("watch")
        await anyio.wait_all_tasks_blocked()
        await system.stop_child("t")
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert log == ["watch", Down(target, SHUTDOWN, watches[1])]


async def test_a_demonitored_target_forgets_its_watcher() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        target = await start(system)
        probe.context.demonitor(probe.monitor(target))
        assert isinstance(target.cell, Cell)
        assert target.cell.watchers == {}
        await system.stop_child("a")
        await probe.expect_nothing()


@pytest.mark.slow
async def test_ten_thousand_monitors_of_one_actor_each_get_their_down() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        target = await start(system)
        watches = {probe.monitor(target) for _ in range(10_000)}
        await system.stop_child("a")
        assert {(await probe.expect(Down)).watch for _ in range(10_000)} == watches


async def test_actors_that_watch_each_other_end_in_any_order() -> None:
    async with TestSystem() as system:
        first, second = await system.probe(), await system.probe()
        first.monitor(second.ref)
        second.monitor(first.ref)
        first.monitor(first.ref)
        first.context.stop()
        assert (await second.expect(Down)).reason == NORMAL
