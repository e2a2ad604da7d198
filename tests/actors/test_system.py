"""A system owns its tasks: they are there while it is entered, and gone when it is left, whatever happens."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sllm_actors.actors import (
    AT_ONCE,
    KILLED,
    SHUTDOWN,
    ActorGone,
    Address,
    Backoff,
    ChildSpec,
    CountChildren,
    Down,
    SupervisorSpec,
    SystemFailed,
)
from sllm_actors.actors.dead_letters import LOGGED_PER_SECOND, REASONS, DeadLetters
from sllm_actors.testing import ManualClock, TestProbe, TestSystem, assert_no_leaks

from .scripted import Scripted, scripted, start

pytestmark = pytest.mark.anyio


async def crash(_actor: Scripted, _message: Any) -> None:
    raise ValueError("x")


async def test_what_was_started_stops_in_reverse_order_when_the_context_ends() -> None:
    log: list[str] = []

    def stopping(name: str) -> Any:
        async def stopped(_actor: Scripted) -> None:
            log.append(name)

        return stopped

    async with TestSystem() as system:
        for name in ("a", "b", "c"):
            await system.start(scripted(name, stopped=stopping(name)))
    assert log == ["c", "b", "a"]


async def test_stop_may_be_called_before_the_end_and_twice() -> None:
    async with TestSystem() as system:
        ref = await start(system)
        await system.stop()
        await system.stop()
        ref.tell(1)
        assert system.statistics().dead_letters == 1


async def test_a_root_that_gives_up_cancels_the_body_and_says_why() -> None:
    system = TestSystem(max_restarts=1, window=60)
    went_on: list[str] = []

    async def run() -> None:
        async with system:
            await start(system, crash, name="a")
            for _ in range(2):
                system.named("a").tell(1)
                await anyio.sleep(0.05)
            went_on.append("too far")

    with pytest.raises(SystemFailed, match="more than 1 restarts within 60 s") as caught:
        await run()
    assert went_on == []
    assert "child 'a'" in str(caught.value.reason)
    assert_no_leaks(system)


async def test_a_child_supervisor_that_gives_up_is_the_roots_to_restart() -> None:
    async with TestSystem() as system:
        spec = SupervisorSpec(
            "sup", max_restarts=0, children=(scripted("a", crash, name="a"),), backoff=AT_ONCE
        )
        await system.start(spec)
        system.named("a").tell(1)
        await anyio.wait_all_tasks_blocked()
        assert system.whereis("a") is not None


async def test_a_failed_child_comes_back_after_its_back_off_and_not_before() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        spec = ChildSpec("a", lambda: Scripted(crash), name="a", backoff=Backoff(first=1000, cap=1000))
        await system.start(spec)
        system.named("a").tell(1)
        await anyio.wait_all_tasks_blocked()
        assert system.whereis("a") is None
        assert system.statistics().deadlines == 1
        await clock.advance(1000)
        assert system.whereis("a") is not None
        system.named("a").tell(1)
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().deadlines == 1  # the system ends while it waits


@pytest.mark.slow
@pytest.mark.parametrize("shutdown", [0, 2.0])
async def test_a_supervisor_has_a_budget_too_if_it_is_given_one(shutdown: float) -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        probe = await system.probe()

        async def hang(_actor: Scripted) -> None:
            await anyio.sleep_forever()

        child = scripted("a", stopped=hang, shutdown=1000.0)
        probe.monitor(await system.start(SupervisorSpec("sup", children=(child,), shutdown=shutdown)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(system.stop_child, "sup")
            await clock.advance(shutdown)
        assert (await probe.expect(Down)).reason == KILLED


async def test_a_supervisor_that_has_ended_takes_nothing() -> None:
    async with TestSystem() as system:
        sup = await system.start(SupervisorSpec("sup"))
        sup.tell(CountChildren())
        await system.stop_child("sup")
        with pytest.raises(ActorGone):
            await sup.ask(CountChildren(), timeout=60)
        assert sup.cell is not None
        sup.cell.stop(SHUTDOWN)
        sup.cell.kill()


async def test_an_exception_of_the_body_passes_through_and_all_is_stopped() -> None:
    log: list[str] = []
    system = TestSystem()

    async def run() -> None:
        async with system:
            await system.start(scripted("a", log=log))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await run()
    assert log == ["started", "stopped: shutdown"]
    assert_no_leaks(system)


async def test_a_cancelled_body_still_stops_in_good_order() -> None:
    log: list[str] = []

    async def slow(_actor: Scripted) -> None:
        await anyio.sleep(0.05)
        log.append("cleaned up")

    with anyio.move_on_after(0.05) as scope:
        async with TestSystem() as system:
            await system.start(scripted("a", stopped=slow, log=log))
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert log == ["started", "stopped: shutdown", "cleaned up"]
    assert_no_leaks(system)


async def test_a_cancelled_body_does_not_wait_for_ever() -> None:
    async def never(_actor: Scripted) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(60), anyio.move_on_after(0.05) as scope:
        async with TestSystem(cancelled_budget=0.05) as system:
            await system.start(scripted("a", stopped=never, shutdown=1000.0))
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert_no_leaks(system)


@pytest.mark.parametrize("turns", range(8))
async def test_a_system_that_is_cancelled_while_it_is_entered_ends_too(turns: int) -> None:
    """``turns``: of the event loop, until the cancellation comes; it comes before the system with 0."""
    system = TestSystem()

    async def cancel(scope: anyio.CancelScope) -> None:
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            if turns:
                tasks.start_soon(cancel, scope)
            else:
                scope.cancel()
            async with system:
                await system.start(scripted("a"))
                await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert_no_leaks(system)


async def test_a_system_is_entered_once() -> None:
    system = TestSystem()
    with pytest.raises(RuntimeError, match="has not been entered"):
        await system.start(scripted("a"))
    with pytest.raises(RuntimeError, match="has not been entered"):
        await system.stop()
    async with system:
        pass
    with pytest.raises(RuntimeError, match="entered twice"):
        await system.__aenter__()


async def test_a_bug_of_the_runtime_is_not_hidden_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with TestSystem() as system:
            await start(system)
            monkeypatch.setattr(system.deadlines, "_heap", [(0.0, 0, None)])
            assert system.deadlines._wake is not None
            system.deadlines._wake.set()
            await anyio.sleep_forever()

    with anyio.fail_after(60), pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.group_contains(AttributeError)


async def test_two_systems_in_one_loop_do_not_meet() -> None:
    async with TestSystem() as one, TestSystem() as two:
        await start(one, name="a")
        assert two.whereis("a") is None
        assert one.named("a") != two.named("a")


async def test_a_thousand_actors_start_and_stop() -> None:
    async with TestSystem() as system:
        refs = [await start(system, child_id=f"a{number}") for number in range(1000)]
        assert [await ref.ask(1, timeout=60) for ref in refs] == [1] * 1000


# ---- what is counted


async def test_statistics_count_what_is_there() -> None:
    async with TestSystem() as system:
        await system.start(SupervisorSpec("sup", children=(scripted("a", name="n"),)))
        probe = await system.probe()
        probe.context.after(1000, "never")
        probe.context.start_soon(anyio.sleep_forever)
        found = system.statistics()
        assert (found.actors, found.supervisors, found.names) == (2, 2, 1)
        assert (found.deadlines, found.jobs, found.restarts) == (1, 1, 0)


async def test_a_leak_is_named() -> None:
    async with TestSystem() as system:
        await start(system)
        with pytest.raises(AssertionError, match=r"'actors': 1"):
            assert_no_leaks(system)


async def test_dead_letters_are_all_counted_and_some_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    letters = DeadLetters()
    target = Address(TestSystem().node, None, "x")
    for _ in range(100):
        letters.count("secret", target, "full", 1.5)
    letters.count("secret", target, "full", 2.5)
    for number in range(REASONS + 10):
        letters.count(1, target, f"reason {number}", 2.6)
    logged = capsys.readouterr().out
    assert "secret" not in logged
    assert f"not_logged={100 - LOGGED_PER_SECOND}" in logged
    assert letters.total == 101 + REASONS + 10
    assert len(letters.by_reason) == REASONS + 1
    assert letters.by_reason["other"] == 11
    assert letters.recent[-1].message_type == "int"


# ---- the test kit


async def test_a_probe_says_what_is_missing_and_what_is_too_much() -> None:
    async with TestSystem() as system:
        probe = await system.probe("p")
        with pytest.raises(AssertionError, match=r"no message came within 0\.01 s"):
            await probe.next(timeout=0.01)
        probe.ref.tell(1)
        with pytest.raises(AssertionError, match="expected nothing, got 1"):
            await probe.expect_nothing()
        with pytest.raises(AssertionError, match="expected a str, got 1"):
            await probe.expect(str)


async def test_a_manual_clock_goes_through_every_time_on_its_way() -> None:
    clock = ManualClock(100.0)
    async with TestSystem(clock=clock) as system:
        times: list[float] = []

        class Ticker(TestProbe):
            async def started(self) -> None:
                self.context.after(1, "tick")

            async def receive(self, message: Any) -> None:
                times.append(self.context.now())
                self.context.after(1, "tick")

        await system.start(ChildSpec("ticker", Ticker))
        await clock.advance(3.5)
        assert times == [101, 102, 103]
        assert clock.now() == 103.5


async def test_a_child_stopped_during_its_back_off_leaves_no_deadline_behind() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        ref = await system.start(ChildSpec("a", Scripted, backoff=Backoff(first=1000, cap=1000)))
        before = system.statistics().deadlines
        probe.monitor(ref)
        ref.cell.kill()  # type: ignore[union-attr]
        await probe.expect(Down)
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().deadlines == before + 1
        await system.stop_child("a")
        assert system.statistics().deadlines == before
        assert system._root._delays == {}
