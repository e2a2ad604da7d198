"""Jobs, timers and children belong to their actor: they never outlive it, and their failure is its own."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    TEMPORARY,
    ActorGone,
    Down,
    Failed,
    RemoteFailure,
    StartFailed,
    Timer,
)
from sllm_actors.testing import ManualClock, TestSystem

from .scripted import Scripted, scripted, start

pytestmark = pytest.mark.anyio


# ---- jobs


async def test_background_work_runs_beside_the_turns_and_dies_with_the_actor() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def work(name: str) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                log.append(f"{name} ended")

        async def handle(actor: Scripted, message: str) -> str:
            actor.context.start_soon(work, message, name="work")
            return "at once"

        ref = await start(system, handle, log=log)
        assert await ref.ask("one", timeout=60) == "at once"
        await ref.ask("two", timeout=60)
        assert system.statistics().jobs == 2
        await system.stop_child("a")
        assert sorted(log[1:3]) == ["one ended", "two ended"]
        assert log[3] == "stopped: shutdown"


async def test_background_work_that_fails_fails_the_actor_and_what_it_handles() -> None:
    async with TestSystem() as system:
        probe = await system.probe()

        async def fail() -> None:
            await anyio.lowlevel.checkpoint()
            raise OSError("broken pipe")

        async def handle(actor: Scripted, _message: Any) -> None:
            actor.context.start_soon(fail)
            await anyio.sleep_forever()

        ref = await start(system, handle, restart=TEMPORARY)
        probe.monitor(ref)
        with pytest.raises(RemoteFailure, match="OSError: broken pipe"):
            await ref.ask(1, timeout=60)
        assert (await probe.expect(Down)).reason == Failed("OSError", "broken pipe")


async def test_background_work_may_stop_its_actor() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def started(actor: Scripted) -> None:
            async def work() -> None:
                actor.context.stop()
                await anyio.sleep_forever()

            actor.context.start_soon(work)

        await system.start(scripted("a", started=started, log=log, restart=TEMPORARY))
        await anyio.wait_all_tasks_blocked()
        assert log == ["started", "stopped: normal"]


async def test_work_that_fails_while_the_actor_starts_is_a_failed_start() -> None:
    async with TestSystem() as system:

        async def fail() -> None:
            raise OSError("x")

        async def started(actor: Scripted) -> None:
            actor.context.start_soon(fail)
            await anyio.sleep_forever()

        with pytest.raises(StartFailed, match="OSError: x"):
            await system.start(scripted("a", started=started))


async def test_an_ending_actor_starts_no_work_no_timer_and_no_child() -> None:
    async with TestSystem() as system:
        refused: list[str] = []

        async def stopped(actor: Scripted) -> None:
            context = actor.context
            try:
                context.start_soon(anyio.sleep, 1)
            except ActorGone as error:
                refused.append(str(error))
            assert not context.after(0, "never").live
            try:
                await context.start_child(scripted("child"))
            except StartFailed as error:
                refused.append(str(error))

        await start(system, stopped=stopped)
        await system.stop_child("a")
        assert ["ending" in text for text in refused] == [True, True]


# ---- timers


async def test_a_timer_sends_its_message_once_and_in_time() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        probe = await system.probe()
        timer = probe.context.after(5, "tick")
        await clock.advance(4.9)
        await probe.expect_nothing()
        await clock.advance(0.2)
        assert await probe.next() == "tick"
        assert not timer.live
        assert probe.context.now() == pytest.approx(5.1)


async def test_a_timer_that_was_cancelled_sends_nothing_even_if_its_time_had_come() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        log: list[str] = []
        release = anyio.Event()
        timers: list[Timer] = []

        async def handle(actor: Scripted, message: str) -> None:
            log.append(message)
            if message == "go":
                timers.append(actor.context.after(1, "tick"))
                timers.append(actor.context.after(1000, "later"))
                await release.wait()
                for timer in timers:
                    timer.cancel()
                    timer.cancel()

        ref = await start(system, handle)
        ref.tell("go")
        await clock.advance(2)
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert log == ["go"]
        assert system.statistics().deadlines == 0


async def test_timers_die_with_their_actor() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:

        async def handle(actor: Scripted, _message: Any) -> None:
            actor.context.after(1, "tick")
            raise ValueError("x")

        ref = await start(system, handle)
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().deadlines == 0
        await clock.advance(2)
        assert system.statistics().restarts == 1


async def test_a_timer_is_not_lost_to_a_full_mailbox_and_does_not_wait_behind_it() -> None:
    async with TestSystem() as system:
        log: list[Any] = []
        release = anyio.Event()

        async def handle(actor: Scripted, message: Any) -> None:
            if message == "go":
                actor.context.after(0, "tick")
                await release.wait()
            log.append(message)

        ref = await start(system, handle)
        ref.tell("go")
        await anyio.wait_all_tasks_blocked()
        for number in range(20_000):
            ref.tell(number)
        await anyio.sleep(0.02)
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert log[:3] == ["go", "tick", 0]


# ---- children


async def test_children_stop_before_their_actor_and_start_again_on_their_own() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def crash(_actor: Scripted, _message: Any) -> None:
            raise ValueError("x")

        async def handle(actor: Scripted, _message: Any) -> None:
            child = await actor.context.start_child(scripted("child", crash, log=log))
            child.tell(1)

        ref = await start(system, handle, log=log)
        await ref.ask(1, timeout=60)
        await anyio.wait_all_tasks_blocked()
        await system.stop_child("a")
        assert log == [
            "started",
            "started",
            "stopped: failed: ValueError: x",
            "started",
            "stopped: shutdown",
            "stopped: shutdown",
        ]


async def test_the_time_that_children_take_is_not_charged_to_their_actor() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        log: list[str] = []

        release = anyio.Event()

        async def slow(_actor: Scripted) -> None:
            await release.wait()

        async def handle(actor: Scripted, _message: Any) -> None:
            await actor.context.start_child(scripted("child", stopped=slow, shutdown=60.0))

        ref = await start(system, handle, log=log, shutdown=1.0)
        await ref.ask(1, timeout=60)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(system.stop_child, "a")
            await clock.advance(10)
            release.set()
        assert log == ["started", "stopped: shutdown"]


async def test_a_killed_actor_takes_its_children_with_it() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def handle(actor: Scripted, _message: Any) -> None:
            await actor.context.start_child(scripted("child", log=log, name="child"))

        ref = await start(system, handle, restart=TEMPORARY)
        await ref.ask(1, timeout=60)
        assert ref.cell is not None
        ref.cell.kill()
        await anyio.wait_all_tasks_blocked()
        assert log == ["started"]
        assert system.whereis("child") is None
        assert system.statistics().actors == 0


async def test_a_child_is_stopped_and_forgotten_on_request() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        with pytest.raises(StartFailed, match="no such child"):
            await probe.context.stop_child("child")
        child = await probe.context.start_child(scripted("child"))
        with pytest.raises(StartFailed, match="exists already"):
            await probe.context.start_child(scripted("child"))
        probe.monitor(child)
        await probe.context.stop_child("child")
        assert (await probe.expect(Down)).ref == child
        await probe.context.start_child(scripted("child"))


async def test_children_that_fail_too_often_fail_their_actor() -> None:
    async with TestSystem(max_restarts=2, window=60) as system:
        probe = await system.probe()

        async def crash(_actor: Scripted, _message: Any) -> None:
            raise ValueError("x")

        async def handle(actor: Scripted, _message: Any) -> None:
            await actor.context.start_child(scripted("child", crash, name="child"))

        ref = await start(system, handle, restart=TEMPORARY)
        probe.monitor(ref)
        await ref.ask(1, timeout=60)
        for _ in range(3):
            system.named("child").tell(1)
            await anyio.wait_all_tasks_blocked()
        reason = (await probe.expect(Down)).reason
        assert isinstance(reason, Failed)
        assert reason.type_name == "RestartIntensity"
