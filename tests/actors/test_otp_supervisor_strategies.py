"""OTP's ``supervisor_SUITE``, second half: strategies, trees, scale and significant children.

What is left out is listed in ``test_otp_cases.py``.
"""

from __future__ import annotations

import anyio
import pytest

from sllm_actors.actors import (
    NORMAL,
    ONE_FOR_ALL,
    REST_FOR_ONE,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    DeleteChild,
    Down,
    Failed,
    RemoteFailure,
    RestartChild,
    StartChild,
    Strategy,
    SupervisorSpec,
    TerminateChild,
)

from .otp import Crash, Exit, Script, Sleep, Suite, supervisor

pytestmark = pytest.mark.anyio


async def stop(suite: Suite) -> None:
    await suite.system.stop_child("sup")
    assert await suite.sup_ends() == SHUTDOWN


def reached_intensity(reason: object) -> bool:
    return isinstance(reason, Failed) and reason.type_name == "RestartIntensity"


# ---- strategies


@pytest.mark.parametrize(
    ("strategy", "fails", "log"),
    [
        pytest.param(Strategy.ONE_FOR_ONE, "child2", ["-child2", "+child2"], id="one_for_one"),
        pytest.param(
            ONE_FOR_ALL,
            "child2",
            ["-child2", "-child3", "-child1", "+child1", "+child2", "+child3"],
            id="one_for_all",
        ),
        pytest.param(REST_FOR_ONE, "child2", ["-child2", "-child3", "+child2", "+child3"], id="rest_for_one"),
        pytest.param(REST_FOR_ONE, "child3", ["-child3", "+child3"], id="rest_for_one_last"),
    ],
)
async def test_strategy(strategy: Strategy, fails: str, log: list[str]) -> None:
    script = Script()
    children = [script.worker(f"child{n}") for n in (1, 2, 3)]
    async with supervisor(*children, strategy=strategy) as suite:
        before = await suite.children()
        script.log.clear()
        await suite.end_child(fails, Crash())
        assert script.log == log
        after = await suite.children()
        assert list(after) == list(before)
        for child_id in after:
            assert (after[child_id] == before[child_id]) is (f"+{child_id}" not in log)
        # Once more is one restart too many after two.
        await suite.end_child(fails, Crash())
        script.log.clear()
        (await suite.ref(fails)).tell(Crash())
        assert reached_intensity(await suite.sup_ends())
        others = [f"-child{n}" for n in (3, 2, 1) if f"child{n}" != fails]
        assert script.log == [f"-{fails}", *others]


@pytest.mark.parametrize("strategy", Strategy)
async def test_escalation(strategy: Strategy) -> None:
    """A child that cannot be restarted takes its supervisor with it."""
    script = Script()
    script.fail_at["child1"] = set(range(2, 100))
    children = script.worker("child1"), script.worker("child2")
    async with supervisor(*children, strategy=strategy, max_restarts=4) as suite:
        (await suite.ref("child1")).tell(Crash())
        assert reached_intensity(await suite.sup_ends())
        assert script.starts["child1"] == 5
        assert script.log[:3] == ["+child1", "+child2", "-child1"]


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, REST_FOR_ONE])
async def test_other_child_fails_restart(strategy: Strategy) -> None:
    """Another child than the one that failed cannot be restarted: the restart is tried again, and counted."""
    script = Script()
    script.fail_at["child2"] = {2, 3}
    children = [script.worker(f"child{n}") for n in (1, 2, 3)]
    async with supervisor(*children, strategy=strategy, max_restarts=3) as suite:
        script.log.clear()
        await suite.end_child("child1", Crash())
        assert script.starts["child2"] == 4
        assert script.starts["child3"] == 2
        assert script.starts["child1"] == (4 if strategy is ONE_FOR_ALL else 2)
        assert await suite.counts() == [3, 3, 0, 3]
        (await suite.ref("child1")).tell(Crash())
        assert reached_intensity(await suite.sup_ends())


async def test_simple_one_for_one() -> None:
    script = Script()
    async with supervisor() as suite:
        context = suite.probe.context
        first = await context.start_child(script.worker("child1"))
        second = await context.start_child(script.worker("child2"))
        suite.probe.monitor(first)
        first.tell(Crash())
        assert (await suite.probe.expect(Down)).ref == first
        await anyio.wait_all_tasks_blocked()
        assert script.starts == {"child1": 2, "child2": 1}
        assert await second.ask("alive", timeout=60) == "alive"


@pytest.mark.slow
async def test_simple_one_for_one_shutdown() -> None:
    """All of an actor's children are stopped at once: three budgets side by side take as long as one."""
    script = Script()
    async with supervisor() as suite:
        for n in range(3):
            child = await suite.probe.context.start_child(script.worker(f"child{n}", shutdown=1.5))
            child.tell(Sleep())
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        suite.probe.context.stop()
        await suite.system.stop()
        assert 1.4 < anyio.current_time() - began < 3 * 1.5


async def test_simple_one_for_one_escalation() -> None:
    script = Script()
    script.fail_at["child1"] = set(range(2, 100))
    async with supervisor() as suite:
        other = await suite.system.probe()
        other.monitor(suite.probe.ref)
        first = await suite.probe.context.start_child(script.worker("child1"))
        await suite.probe.context.start_child(script.worker("child2"))
        first.tell(Crash())
        assert reached_intensity((await other.expect(Down)).reason)
        assert script.log[-1] == "-child2"


# ---- the rest


async def test_child_unlink() -> None:
    """A child that hides from cancellation cannot keep its supervisor from noticing its end."""
    script = Script()
    async with supervisor(script.worker("child1", shutdown=0.1)) as suite:
        ref = await suite.ref("child1")

        async def shielded() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.3)

        ref.cell.owned_resources().start_job(shielded, (), None)  # type: ignore[union-attr]
        await stop(suite)


async def test_tree() -> None:
    """A supervisor's children are stopped with it and started with it, at any depth."""
    script = Script()
    inner = SupervisorSpec(
        "inner",
        ONE_FOR_ALL,
        0,
        3600,
        children=(script.worker("child3"), script.worker("child4")),
        backoff=script.worker("x").backoff,
    )
    outer = SupervisorSpec("outer", children=(script.worker("child2"), inner))
    async with supervisor(script.worker("child1"), outer) as suite:
        assert await suite.counts() == [2, 2, 1, 1]
        assert script.log == ["+child1", "+child2", "+child3", "+child4"]
        script.log.clear()
        await stop(suite)
        assert script.log == ["-child4", "-child3", "-child2", "-child1"]


async def test_tree_escalation() -> None:
    """An inner supervisor that gives up is restarted by the outer one, with all its children."""
    script = Script()
    inner = SupervisorSpec(
        "inner",
        ONE_FOR_ALL,
        0,
        3600,
        children=(script.worker("child2"), script.worker("child3", name="third")),
        backoff=script.worker("x").backoff,
    )
    async with supervisor(script.worker("child1"), inner) as suite:
        script.log.clear()
        third = suite.system.whereis("third")
        assert third is not None
        suite.probe.monitor(third)
        third.tell(Crash())
        await suite.probe.expect(Down)
        await anyio.wait_all_tasks_blocked()
        assert script.log == ["-child3", "-child2", "+child2", "+child3"]
        assert suite.system.whereis("third") not in (None, third)


async def test_count_children() -> None:
    script = Script()
    async with supervisor(script.worker("child1"), SupervisorSpec("child2")) as suite:
        assert await suite.counts() == [2, 2, 1, 1]
        await suite.ask(TerminateChild("child1"))
        assert await suite.counts() == [2, 1, 1, 1]
        await suite.ask(TerminateChild("child2"))
        assert await suite.counts() == [2, 0, 1, 1]


async def test_do_not_save_child_specs_for_temporary_children() -> None:
    script = Script()
    async with supervisor(script.worker("child1", TEMPORARY), script.worker("child2", TEMPORARY)) as suite:
        await suite.end_child("child1", Crash())
        await suite.ask(TerminateChild("child2"))
        assert await suite.children() == {}
        with pytest.raises(RemoteFailure, match="no such child"):
            await suite.ask(RestartChild("child2"))


async def test_simple_one_for_one_scale_many_temporary_children() -> None:
    script = Script()
    async with supervisor() as suite:
        context = suite.probe.context
        for n in range(1000):
            await context.start_child(script.worker(f"child{n}", TEMPORARY))
        await context.stop_child("child500")
        assert suite.system.statistics().actors == 1000
        await suite.system.stop()
        assert sum(entry.startswith("-") for entry in script.log) == 1000


@pytest.mark.slow
async def test_hanging_restart_loop() -> None:
    """A child that can never be restarted does not keep its supervisor from listening."""
    script = Script()
    script.fail_at["child1"] = set(range(2, 10**6))
    async with supervisor(script.worker("child1"), max_restarts=10**6) as suite:
        first = await suite.ref("child1")
        suite.probe.monitor(first)
        first.tell(Crash())
        await suite.probe.expect(Down)
        while script.starts["child1"] < 100:
            await anyio.lowlevel.checkpoint()
        child2 = await suite.ask(StartChild(script.worker("child2")))
        assert await child2.ask("alive", timeout=60) == "alive"
        with pytest.raises(RemoteFailure, match="not down"):
            await suite.ask(DeleteChild("child1"))
        await suite.ask(TerminateChild("child1"))
        count = script.starts["child1"]
        assert (await suite.children())["child1"] is None
        await anyio.sleep(0.01)
        assert script.starts["child1"] == count


# ---- significant children


@pytest.mark.parametrize(
    ("mode", "ends", "ended"),
    [
        pytest.param(AutoShutdown.ANY_SIGNIFICANT, ["plain"], False, id="any_insignificant"),
        pytest.param(AutoShutdown.ANY_SIGNIFICANT, ["child1"], True, id="any_transient"),
        pytest.param(AutoShutdown.ANY_SIGNIFICANT, ["child2"], True, id="any_temporary"),
        pytest.param(AutoShutdown.ALL_SIGNIFICANT, ["child1"], False, id="all_but_one"),
        pytest.param(AutoShutdown.ALL_SIGNIFICANT, ["child1", "child2"], True, id="all"),
    ],
)
async def test_auto_shutdown(mode: AutoShutdown, ends: list[str], ended: bool) -> None:
    script = Script()
    children = (
        script.worker("child1", TRANSIENT, significant=True),
        script.worker("child2", TEMPORARY, significant=True),
        script.worker("plain", TRANSIENT),
    )
    async with supervisor(*children, auto_shutdown=mode) as suite:
        for child_id in ends:
            await suite.end_child(child_id, Exit(NORMAL))
        if ended:
            assert await suite.sup_ends() == SHUTDOWN
        else:
            await suite.probe.expect_nothing()


async def test_auto_shutdown_is_a_normal_end_for_the_supervisor_above() -> None:
    script = Script()
    inner = SupervisorSpec(
        "inner",
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
        children=(script.worker("child1", TRANSIENT, significant=True, name="one"),),
        restart=TRANSIENT,
    )
    async with supervisor(inner) as suite:
        one = suite.system.whereis("one")
        assert one is not None
        one.tell(Exit(NORMAL))
        await anyio.wait_all_tasks_blocked()
        assert await suite.children() == {"inner": None}
