"""Engines on a CPU compute on cores of their own, where they say how many."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import psutil
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.kit import FakeBackend, fake_plan, report_of, start, until

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.machine.cores import CorePool, choose_cores
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.engines.replica import engine_life
from sllm_actors.testing import TestSystem

HERE = sorted(os.sched_getaffinity(0))
several = pytest.mark.skipif(len(HERE) < 2, reason="this machine has one core")


def test_engines_share_no_core_while_there_are_enough() -> None:
    pool = CorePool(tuple(range(8)))
    with pool.allocate(3) as first, pool.allocate(3) as second, pool.allocate(2) as third:
        assert (first, second, third) == ((0, 1, 2), (3, 4, 5), (6, 7))


def test_cores_that_were_given_back_are_lent_again_also_after_a_failure() -> None:
    pool = CorePool(tuple(range(4)))
    with pool.allocate(2), pytest.raises(RuntimeError, match="it died"), pool.allocate(2):
        raise RuntimeError("it died")
    with pool.allocate(2) as again:
        assert again == (0, 1)


def test_who_wants_none_or_all_runs_on_all_and_keeps_nobody_from_a_core() -> None:
    pool = CorePool(tuple(range(4)))
    with (
        pool.allocate(0) as any_core,
        pool.allocate(4) as every,
        pool.allocate(9) as more,
        pool.allocate(2) as own,
    ):
        assert (any_core, every, more) == ((), (), ())
        assert own == (0, 1)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (16, 8)])
def test_by_default_two_engines_have_a_core_for_each_thread(cores: int, threads: int) -> None:
    assert CorePool(tuple(range(cores))).share_of_two == threads


def test_who_shares_has_all_cores_while_alone_and_else_its_own() -> None:
    pool = CorePool(tuple(range(4)))
    changes: list[str] = []
    with pool.share(2, lambda: changes.append("first")) as first:
        with pool.allocate(0):
            assert first() == (0, 1, 2, 3)
        changes.clear()
        with pool.share(2, lambda: changes.append("second")) as second:
            assert (first(), second()) == ((0, 1), (2, 3))
            assert changes == ["first", "second"]
        assert first() == (0, 1, 2, 3)
        assert changes == ["first", "second", "first"]
        with pool.allocate(1) as own:
            assert (own, first()) == ((2,), (0, 1))
        with pool.allocate(4) as every:  # computes on all of them: nobody is alone
            assert (every, first()) == ((), (0, 1))


def test_who_shares_the_only_core_has_that() -> None:
    pool = CorePool((7,))
    with pool.share(1, lambda: None) as first, pool.share(1, lambda: None) as second:
        assert first() == second() == (7,)


@given(st.sets(st.integers(0, 200), min_size=1, max_size=16), st.lists(st.integers(0, 17), max_size=12))
def test_allocations_are_as_even_as_they_can_be(cores: set[int], counts: list[int]) -> None:
    allocated: Counter[int] = Counter()
    for count in counts:
        chosen = choose_cores(sorted(cores), allocated, count)
        assert len(set(chosen)) == len(chosen) == (count if 0 < count < len(cores) else 0)
        assert set(chosen) <= cores
        allocated.update(chosen)
        assert max(allocated[core] for core in cores) - min(allocated[core] for core in cores) <= 1


@several
@pytest.mark.anyio
async def test_an_engine_and_its_leash_run_on_its_cores(folder: Path) -> None:
    plan = evolve(fake_plan(folder), cores=(HERE[-1],))
    async with EngineProcess(plan) as engine:
        assert os.sched_getaffinity(engine.pid) == {HERE[-1]}
    async with EngineProcess(fake_plan(folder)) as engine:
        assert os.sched_getaffinity(engine.pid) == set(HERE)


@pytest.mark.anyio
async def test_an_engine_whose_cores_are_gone_runs_on_any(folder: Path) -> None:
    async with EngineProcess(evolve(fake_plan(folder), cores=(100_000,))) as engine:
        assert os.sched_getaffinity(engine.pid) == set(HERE)


class Computing(FakeBackend):
    """Starts a fake engine that computes with one thread."""

    def __init__(self, *, own_cores: bool) -> None:
        super().__init__()
        self._own_cores = own_cores

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        launch = super().launch(order, host, paths)
        assert launch.plan is not None
        return evolve(launch, plan=evolve(launch.plan, threads=1, own_cores=self._own_cores))


@pytest.mark.slow
@several
@pytest.mark.anyio
async def test_two_replicas_have_cores_of_their_own(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Computing(own_cores=True))
    async with TestSystem() as system:
        pids = []
        for number in range(2):
            order = ReplicaOrder(ReplicaKey("m:fake", 1, number), "m", "fake", "")
            _, probe = await start(system, order, host, f"replica-{number}")
            pids.append((await report_of(probe, ReplicaState.READY)).pid)
        first, second = map(os.sched_getaffinity, pids)
        assert (len(first), len(second)) == (1, 1)
        assert first != second


def threads_of(pid: int) -> set[frozenset[int]]:
    """Return the sets of cores that an engine's threads and those of its children run on."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {frozenset(os.sched_getaffinity(each.id)) for process in family for each in process.threads()}


@pytest.mark.slow
@several
@pytest.mark.anyio
async def test_replicas_that_share_are_kept_apart_while_there_are_two(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Computing(own_cores=False))
    async with TestSystem() as system:

        async def ready(number: int) -> int:
            order = ReplicaOrder(ReplicaKey("m:fake", 1, number), "m", "fake", "")
            _, probe = await start(system, order, host, f"replica-{number}")
            pid = (await report_of(probe, ReplicaState.READY)).pid
            assert pid is not None
            return pid

        first = await ready(1)
        assert threads_of(first) == {frozenset(HERE)}
        second = await ready(2)
        await until(lambda: threads_of(first) == {frozenset(HERE[:1])})
        await until(lambda: threads_of(second) == {frozenset(HERE[1:2])})
        await system.stop_child("replica-2")
        await until(lambda: threads_of(first) == {frozenset(HERE)})
