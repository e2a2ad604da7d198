"""OTP's ``supervisor_SUITE``, third part: children that do not start or stop well, lists and counts of them.

What is left out is listed in ``test_otp_cases.py``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    KILLED,
    NORMAL,
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    REST_FOR_ONE,
    SHUTDOWN,
    TEMPORARY,
    TRANSIENT,
    ActorRef,
    AutoShutdown,
    Backoff,
    ChildSpec,
    DeleteChild,
    Down,
    ExitReason,
    Failed,
    RemoteFailure,
    Restart,
    RestartChild,
    Spec,
    StartChild,
    StartFailed,
    Strategy,
    SupervisorSpec,
    TerminateChild,
    WhichChildren,
)
from sllm_actors.actors.supervisor import SupervisorCell

from .otp import Crash, Exit, Kill, Script, Sleep, Worker, end, supervisor

pytestmark = pytest.mark.anyio

RESTARTS = [PERMANENT, TRANSIENT, TEMPORARY]
FAILED = Failed("RuntimeError", "told to fail")
CRASHED = Failed("RuntimeError", "told to crash")


# ---- start


async def test_sup_start_child_returns_error() -> None:
    script = Script()
    script.fail_always.add("child1")
    async with supervisor() as suite:
        with pytest.raises(RemoteFailure, match=r"child 'child1' did not start: .*told to fail"):
            await suite.ask(StartChild(script.worker("child1")))
        assert await suite.children() == {}


async def test_sup_start_restart_child_returns_error() -> None:
    script = Script()
    script.fail_at["child1"] = {2}
    async with supervisor(script.worker("child1")) as suite:
        await suite.ask(TerminateChild("child1"))
        with pytest.raises(RemoteFailure, match="did not start"):
            await suite.ask(RestartChild("child1"))
        assert await suite.children() == {"child1": None}


async def test_sup_start_child_returns_error_simple() -> None:
    script = Script()
    script.fail_always.add("child1")
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        with pytest.raises(StartFailed, match="told to fail"):
            await dynamic.start(script.worker("child1"))
        assert await dynamic.children() == {}


async def test_sup_start_map_simple() -> None:
    """The whole specification of a child can be read, with its defaults."""
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        spec = ChildSpec("child1", lambda: Worker(Script(), "child1"), TEMPORARY)
        await dynamic.start(spec)
        (found,) = await dynamic.sup.ask(WhichChildren(), timeout=60)
        assert found.spec == spec
        assert (found.spec.restart, found.spec.shutdown, found.spec.significant) == (TEMPORARY, 5.0, False)


def test_child_specs_map() -> None:
    for mode, restart, shutdown, significant in product(
        AutoShutdown, RESTARTS, [0.0, 1.0, float("inf")], [True, False]
    ):
        wrong = significant and (mode is AutoShutdown.NEVER or restart is PERMANENT)

        def make(
            mode: AutoShutdown = mode,
            restart: Restart = restart,
            shutdown: float = shutdown,
            significant: bool = significant,
        ) -> None:
            child = Script().worker("child", restart, shutdown, significant=significant)
            SupervisorSpec("sup", auto_shutdown=mode, children=(child,))

        if wrong:
            with pytest.raises(ValueError, match="significant"):
                make()
        else:
            make()
    with pytest.raises(ValueError, match="two children with the id 'child'"):
        SupervisorSpec("sup", children=(Script().worker("child"), Script().worker("child")))


async def test_already_started_outside_supervisor() -> None:
    script = Script()
    async with supervisor() as suite:
        other = await suite.system.start(script.worker("other", name="taken"))
        with pytest.raises(RemoteFailure, match="the name 'taken' is taken"):
            await suite.ask(StartChild(script.worker("child1", name="taken")))
        assert suite.system.whereis("taken") == other
        assert await suite.children() == {}


# ---- stop


async def ends(suite: Any, refs: list[ActorRef], stop: Any) -> dict[ActorRef, ExitReason]:
    """Return how these have ended once ``stop`` was done."""
    other = await suite.system.probe()
    for ref in refs:
        other.monitor(ref)
    await stop()
    downs = [await other.expect(Down) for _ in refs]
    return {down.ref: down.reason for down in downs}


async def test_sup_stop_timeout_dynamic() -> None:
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        children = [await dynamic.start(script.worker(f"child{n}", TEMPORARY, 0.1)) for n in (1, 2)]
        children[1].tell(Sleep())
        await anyio.wait_all_tasks_blocked()

        async def stop() -> None:
            dynamic.owner.context.stop()

        refs = [*children, dynamic.owner.ref]
        assert list((await ends(suite, refs, stop)).values()) == [SHUTDOWN, KILLED, NORMAL]


async def test_sup_stop_brutal_kill_dynamic() -> None:
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        children = [await dynamic.start(script.worker(f"child{n}", TEMPORARY, 0)) for n in range(10)]

        async def stop() -> None:
            dynamic.owner.context.stop()

        refs = [*children, dynamic.owner.ref]
        assert list((await ends(suite, refs, stop)).values()) == [KILLED] * 10 + [NORMAL]


async def test_sup_stop_race() -> None:
    """Children that end by themselves while another one is stopped are neither restarted nor waited for."""
    script = Script()
    reasons = {NORMAL: Exit(NORMAL), SHUTDOWN: Exit(SHUTDOWN), CRASHED: Crash()}
    racing = [
        (script.worker(f"{restart.value} {reason}", restart), reason)
        for restart in RESTARTS
        for reason in reasons
    ]
    first, last = script.worker("a", TEMPORARY), script.worker("z", TEMPORARY, 0.3)
    async with supervisor(first, *(spec for spec, _ in racing), last) as suite:
        refs = {child_id: await suite.ref(child_id) for child_id in await suite.children()}
        (await suite.ref("z")).tell(Sleep())
        await anyio.wait_all_tasks_blocked()

        async def stop() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(suite.system.stop_child, "sup")
                await anyio.wait_all_tasks_blocked()
                for spec, reason in racing:
                    refs[spec.id].tell(reasons[reason])

        found = await ends(suite, [*refs.values(), suite.sup], stop)
        assert found == {
            refs["a"]: SHUTDOWN,
            **{refs[spec.id]: reason for spec, reason in racing},
            refs["z"]: KILLED,
            suite.sup: SHUTDOWN,
        }
        assert set(script.starts.values()) == {1}


@pytest.mark.parametrize("restart", RESTARTS)
async def test_sup_stop_non_shutdown_exit_dynamic(restart: Restart) -> None:
    script = Script()
    script.fail_to_stop.add("child2")
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        children = [await dynamic.start(script.worker(f"child{n}", restart)) for n in (1, 2)]

        async def stop() -> None:
            dynamic.owner.context.stop()

        found = await ends(suite, [*children, dynamic.owner.ref], stop)
        assert found == {children[0]: SHUTDOWN, children[1]: FAILED, dynamic.owner.ref: NORMAL}
        assert set(script.starts.values()) == {1}


# ---- administration


async def test_child_adm_simple() -> None:
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        first = await dynamic.start(script.worker("child1"))
        assert await dynamic.children() == {"child1": first}
        second = await dynamic.start(script.worker("child2"))
        assert await dynamic.children() == {"child1": first, "child2": second}
        assert await dynamic.counts() == [2, 2, 0, 2]
        await dynamic.stop("child1")
        assert await dynamic.counts() == [1, 1, 0, 1]
        with pytest.raises(StartFailed, match="no such child"):
            await dynamic.stop("child1")
        for message in (RestartChild("child1"), DeleteChild("child1")):
            with pytest.raises(RemoteFailure, match="no such child"):
                await dynamic.sup.ask(message, timeout=60)
        assert await dynamic.children() == {"child2": second}


async def test_which_children() -> None:
    script = Script()
    async with supervisor() as suite:
        assert await suite.children() == {}
        child1 = await suite.ask(StartChild(script.worker("child1")))
        assert await suite.children() == {"child1": child1}
        child2 = await suite.ask(StartChild(script.worker("child2")))
        assert list((await suite.children()).items()) == [("child1", child1), ("child2", child2)]
        await suite.ask(TerminateChild("child1"))
        assert await suite.children() == {"child1": None, "child2": child2}
        await suite.ask(DeleteChild("child1"))
        assert await suite.children() == {"child2": child2}


async def test_which_children_simple_one_for_one() -> None:
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        child1 = await dynamic.start(script.worker("child1", TEMPORARY))
        assert await dynamic.children() == {"child1": child1}
        child2 = await dynamic.start(script.worker("child2", TEMPORARY))
        assert await dynamic.children() == {"child1": child1, "child2": child2}
        await dynamic.stop("child1")
        assert await dynamic.children() == {"child2": child2}


async def test_count_children_supervisor() -> None:
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        for n in range(100):
            await dynamic.start(SupervisorSpec(f"child{n}", restart=TEMPORARY))
        assert await dynamic.counts() == [100, 100, 100, 0]
        for child in (await dynamic.children()).values():
            assert child is not None
            end(child, Kill())
        await anyio.wait_all_tasks_blocked()
        assert await dynamic.counts() == [0, 0, 0, 0]


async def test_count_restarting_children() -> None:
    """A child that waits to be restarted is there, but not active."""
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        slow = Backoff(first=1000, cap=1000)
        for n in (1, 2, 3):
            worker = script.worker(f"child{n}")
            await dynamic.start(ChildSpec(worker.id, worker.factory, backoff=slow))
        assert await dynamic.counts() == [3, 3, 0, 3]
        for child_id in ("child1", "child2"):
            child = (await dynamic.children())[child_id]
            assert child is not None
            end(child, Crash())
        await anyio.wait_all_tasks_blocked()
        assert await dynamic.counts() == [3, 1, 0, 3]
        await dynamic.stop("child1")
        assert await dynamic.counts() == [2, 1, 0, 2]


async def test_order_of_children() -> None:
    script = Script()
    ids = ["ch7", "ch3", "ch10", "ch2", "ch5"]
    async with supervisor(*map(script.worker, ids), strategy=REST_FOR_ONE) as suite:
        assert script.log == [f"+{child_id}" for child_id in ids]
        script.log.clear()
        await suite.end_child("ch10", Crash())
        assert script.log == ["-ch10", "-ch5", "-ch2", "+ch10", "+ch2", "+ch5"]
        script.log.clear()
        await suite.system.stop_child("sup")
        assert script.log == [f"-{child_id}" for child_id in reversed(ids)]


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count calls of Python functions: work, told by what a busy machine does not change."""
    calls = Counter[str]()
    before = sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: calls.update((event,)))
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.slow
async def test_scale_start_stop_many_children() -> None:
    """Ten times as many children are about ten times the work; OTP's suite allows ten times more."""
    script = Script()
    async with supervisor() as suite:

        async def start_and_stop(count: int) -> int:
            with counted_calls() as calls:
                for n in range(count):
                    await suite.ask(StartChild(script.worker(f"child{n}", TEMPORARY)))
                for n in range(count):
                    await suite.ask(TerminateChild(f"child{n}"))
            return calls["call"]

        few = await start_and_stop(100)
        assert await start_and_stop(1000) < 15 * few
        assert await suite.children() == {}


# ---- what is kept


def kept_by(supervisor: ActorRef) -> dict[str, Spec]:
    """Return the specifications, and so the start parameters, that the supervisor's state holds."""
    cell = supervisor.cell
    assert isinstance(cell, SupervisorCell)
    assert cell._cells.keys() <= cell.state.children.keys()
    return {child_id: child.spec for child_id, child in cell.state.children.items()}


@pytest.mark.parametrize("strategy", [ONE_FOR_ALL, ONE_FOR_ONE, REST_FOR_ONE])
async def test_do_not_save_start_parameters_for_temporary_children(strategy: Strategy) -> None:
    script = Script()
    async with supervisor(strategy=strategy) as suite:
        specs = {restart.value: script.worker(restart.value, restart) for restart in RESTARTS}
        for spec in specs.values():
            await suite.ask(StartChild(spec))
        for child_id in specs:
            await suite.ask(TerminateChild(child_id))
        del specs[TEMPORARY.value]
        assert kept_by(suite.sup) == specs


async def test_simple_one_for_one_corruption() -> None:
    """Nothing of a temporary child is kept after its end, also when it was not the first to end."""
    script = Script()
    async with supervisor() as suite:
        dynamic = await suite.dynamic()
        for n in range(3):
            child = await dynamic.start(script.worker(f"child{n}", TEMPORARY))
            suite.probe.monitor(child)
            end(child, Crash())
            await suite.probe.expect(Down)
            await anyio.wait_all_tasks_blocked()
            assert kept_by(dynamic.sup) == {}
