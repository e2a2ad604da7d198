"""An actor handles one message at a time, from its start to its end, and its end has an order and a bound."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    ActorGone,
    Down,
    Failed,
    RemoteFailure,
    StartFailed,
)
from sllm_actors.testing import ManualClock, TestSystem

from .scripted import Handler, Scripted, scripted, start

pytestmark = pytest.mark.anyio


async def hang(_actor: Scripted, _message: Any) -> None:
    await anyio.sleep_forever()


async def test_messages_are_handled_one_at_a_time_in_the_order_of_sending() -> None:
    async with TestSystem() as system:
        log: list[int] = []

        async def handle(_actor: Scripted, message: int) -> None:
            log.append(message)
            await anyio.lowlevel.checkpoint()
            log.append(message)

        ref = await start(system, handle)
        for number in range(300):
            ref.tell(number)
        await ref.ask(300, timeout=60)
        assert log == [number for number in range(301) for _ in (1, 2)]


async def test_the_first_message_waits_for_started() -> None:
    async with TestSystem() as system:
        log: list[str] = []
        release = anyio.Event()

        async def started(_actor: Scripted) -> None:
            await release.wait()

        async def handle(_actor: Scripted, message: str) -> None:
            log.append(message)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(system.start, scripted("a", handle, started=started, log=log, name="a"))
            await anyio.wait_all_tasks_blocked()
            system.named("a").tell("first")
            await anyio.wait_all_tasks_blocked()
            assert log == []
            release.set()
        await anyio.wait_all_tasks_blocked()
        assert log == ["started", "first"]


async def test_a_busy_actor_does_not_keep_others_waiting() -> None:
    async with TestSystem() as system:
        busy = await start(system, hang, child_id="busy", shutdown=0)
        idle = await start(system, child_id="idle")
        busy.tell(1)
        assert await idle.ask("alive", timeout=60) == "alive"


async def test_actors_that_always_have_messages_share_the_loop() -> None:
    async with TestSystem() as system:
        counts = {"a": 0, "b": 0}
        going = True

        async def again(actor: Scripted, message: str) -> None:
            counts[message] += 1
            if going:
                actor.context.ref.tell(message)

        for name in counts:
            (await start(system, again, child_id=name)).tell(name)
        await anyio.sleep(0.05)  # the test itself gets its turn, too
        going = False
        assert min(counts.values()) > max(counts.values()) / 2 > 10


async def test_an_idle_actor_holds_no_task() -> None:
    async with TestSystem() as system:
        for number in range(500):
            await start(system, child_id=f"a{number}")
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().actors == 500
        assert system.statistics().runners <= 2


async def test_waiting_handlers_hold_a_task_each_and_most_are_given_back() -> None:
    async with TestSystem() as system:
        release = anyio.Event()

        async def wait(_actor: Scripted, _message: Any) -> None:
            await release.wait()

        for number in range(200):
            (await start(system, wait, child_id=f"a{number}")).tell(1)
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().runners >= 200
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().runners <= 64


# ---- starting


async def test_a_start_that_fails_is_the_callers_error_and_leaves_nothing() -> None:
    async with TestSystem() as system:

        async def fail(_actor: Scripted) -> None:
            raise OSError("no disk")

        log: list[str] = []
        with pytest.raises(StartFailed, match="child 'a' did not start: failed: OSError: no disk"):
            await system.start(scripted("a", started=fail, log=log, name="a"))
        assert log == []
        assert system.whereis("a") is None
        await system.start(scripted("a", name="a"))


async def test_a_factory_that_fails_is_a_start_that_fails() -> None:
    async with TestSystem() as system:

        def broken() -> Scripted:
            raise ImportError("no such module")

        spec = scripted("a")
        with pytest.raises(StartFailed, match="ImportError: no such module"):
            await system.start(type(spec)("a", broken))


async def test_a_name_is_taken_only_once_and_is_free_after_the_end() -> None:
    async with TestSystem() as system:
        first = await system.start(scripted("a", name="n"))
        assert system.whereis("n") == first
        with pytest.raises(StartFailed, match="the name 'n' is taken"):
            await system.start(scripted("b", name="n"))
        await system.stop_child("a")
        assert system.whereis("n") is None
        await system.start(scripted("b", name="n"))


async def test_a_start_that_nobody_waits_for_any_more_is_taken_back() -> None:
    async with TestSystem() as system:

        async def never(_actor: Scripted) -> None:
            await anyio.sleep_forever()

        with anyio.move_on_after(0.05):
            await system.start(scripted("a", started=never, shutdown=0.05))
        await anyio.sleep(0.2)
        assert system.statistics().actors == 0
        await system.start(scripted("a"))


# ---- the end


async def test_stop_ends_an_actor_after_its_message_and_what_waits_is_a_dead_letter() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        log: list[str] = []

        async def stop(actor: Scripted, message: str) -> None:
            actor.context.stop()
            await anyio.lowlevel.checkpoint()
            log.append(message)

        ref = await start(system, stop, log=log, restart=TRANSIENT)
        probe.monitor(ref)
        ref.tell("one")
        ref.tell("two")
        down = await probe.expect(Down)
        assert (down.ref, down.reason) == (ref, NORMAL)
        assert log == ["started", "one", "stopped: normal"]
        assert system.statistics().dead_letters_by_reason == {"it has ended": 1}


async def test_an_actor_that_stops_in_its_start_has_started() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def started(actor: Scripted) -> None:
            actor.context.stop()

        await system.start(scripted("a", started=started, log=log, restart=TEMPORARY))
        await anyio.wait_all_tasks_blocked()
        assert log == ["started", "stopped: normal"]


async def test_a_failure_runs_the_stopped_hook_with_the_reason() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def fail(_actor: Scripted, _message: Any) -> None:
            raise ValueError("x")

        ref = await start(system, fail, log=log, restart=TEMPORARY)
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert log == ["started", "stopped: failed: ValueError: x"]


async def test_a_stopped_hook_that_fails_is_the_reason_of_a_normal_end_only() -> None:
    async with TestSystem() as system:
        probe = await system.probe()

        async def fail(_actor: Scripted) -> None:
            raise OSError("cleanup")

        async def stop(actor: Scripted, _message: Any) -> None:
            actor.context.stop()

        async def crash(_actor: Scripted, _message: Any) -> None:
            raise ValueError("first")

        handlers: list[tuple[Handler, Failed]] = [
            (stop, Failed("OSError", "cleanup")),
            (crash, Failed("ValueError", "first")),
        ]
        for handler, reason in handlers:
            ref = await start(system, handler, stopped=fail, restart=TEMPORARY)
            probe.monitor(ref)
            ref.tell(1)
            assert (await probe.expect(Down)).reason == reason


async def test_an_actor_that_does_not_end_within_its_budget_is_killed() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        probe = await system.probe()
        log: list[str] = []
        ref = await start(system, hang, log=log, shutdown=3.0)
        probe.monitor(ref)
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(system.stop_child, "a")
            await clock.advance(2.9)
            await probe.expect_nothing()
            await clock.advance(0.2)
        assert (await probe.expect(Down)).reason == KILLED
        assert log == ["started"]


async def test_a_stopped_hook_that_hangs_is_killed_too() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        probe = await system.probe()

        async def never(_actor: Scripted) -> None:
            await anyio.sleep_forever()

        probe.monitor(await start(system, stopped=never, shutdown=3.0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(system.stop_child, "a")
            await clock.advance(3.1)
        assert (await probe.expect(Down)).reason == KILLED


async def test_a_kill_that_comes_before_the_stopped_hook_has_begun_prevents_it() -> None:
    async with TestSystem() as system:
        log: list[str] = []
        ref = await start(system, log=log)
        assert ref.cell is not None
        ref.cell.stop(SHUTDOWN)
        ref.cell.kill()
        await anyio.wait_all_tasks_blocked()
        assert log == ["started", "started"]  # the second one is its successor


async def test_a_killed_handler_runs_its_finally_and_its_asker_is_told() -> None:
    async with TestSystem() as system:
        log: list[str] = []

        async def handle(_actor: Scripted, _message: Any) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                log.append("finally")

        ref = await start(system, handle, restart=TEMPORARY)

        async def ask() -> None:
            with pytest.raises(ActorGone, match="killed"):
                await ref.ask(1, timeout=60)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert ref.cell is not None
            ref.cell.kill()
            ref.cell.kill()
        assert log == ["finally"]
        # The runner that was interrupted goes on to serve others.
        assert await (await start(system, child_id="b")).ask(2, timeout=60) == 2


async def test_an_actor_may_be_killed_by_itself_in_its_turn() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        log: list[str] = []

        async def handle(actor: Scripted, _message: Any) -> None:
            cell = actor.context.ref.cell
            assert cell is not None
            cell.kill()
            log.append("went on until it waits")
            await anyio.lowlevel.checkpoint()
            log.append("never")

        ref = await start(system, handle, restart=TEMPORARY)
        probe.monitor(ref)
        ref.tell(1)
        assert (await probe.expect(Down)).reason == KILLED
        assert log == ["went on until it waits"]


async def test_an_actor_that_kills_itself_and_does_not_wait_finishes_its_message_only() -> None:
    async with TestSystem() as system:
        log: list[Any] = []

        async def handle(actor: Scripted, message: Any) -> None:
            cell = actor.context.ref.cell
            assert cell is not None
            cell.kill()
            log.append(message)

        ref = await start(system, handle, restart=TEMPORARY)
        ref.tell(1)
        ref.tell(2)
        await anyio.wait_all_tasks_blocked()
        assert log == [1]
        assert system.statistics().actors == 0


async def test_an_actor_without_a_budget_is_killed_at_once_and_runs_no_hook() -> None:
    async with TestSystem() as system:
        log: list[str] = []
        await start(system, log=log, shutdown=0)
        await system.stop_child("a")
        assert log == ["started"]

        async def stop(actor: Scripted, _message: Any) -> None:
            actor.context.stop()

        ref = await start(system, stop, child_id="b", log=log, shutdown=0, restart=TEMPORARY)
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert log == ["started", "started"]


async def test_a_second_stop_does_not_change_the_first() -> None:
    async with TestSystem() as system:
        probe = await system.probe()

        async def stop(actor: Scripted, _message: Any) -> None:
            actor.context.stop(Failed("First"))
            actor.context.stop()

        ref = await start(system, stop, restart=TEMPORARY)
        probe.monitor(ref)
        ref.tell(1)
        assert (await probe.expect(Down)).reason == Failed("First")


async def test_a_ref_names_an_incarnation_and_a_name_follows_restarts() -> None:
    async with TestSystem() as system:

        async def handle(_actor: Scripted, message: Any) -> Any:
            if message == "crash":
                raise ValueError(message)
            return message

        old = await start(system, handle, name="a")
        with pytest.raises(RemoteFailure):
            await old.ask("crash", timeout=60)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorGone):
            await old.ask(1, timeout=60)
        assert await system.named("a").ask(1, timeout=60) == 1
        assert system.statistics().restarts == 1
