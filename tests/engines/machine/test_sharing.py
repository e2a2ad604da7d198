"""Several engines have the memory of a GPU together, and no more than there is, over all workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engines.kit import fake_plan, until

from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.machine.gpu_lock import MIB, GpuLock
from sllm_actors.engines.machine.gpus import GpuAllocation, GpuPool, visible
from sllm_actors.engines.ownership.engine_process import EngineProcess

pytestmark = pytest.mark.anyio

GIB = 2**30
GPUS = ("GPU-0", "GPU-1")
SIZES = dict.fromkeys(GPUS, 8 * GIB)


@pytest.fixture
def pool(folder: Path) -> GpuPool:
    return GpuPool(GPUS, folder, sizes=SIZES)


@pytest.fixture
def neighbour(folder: Path) -> GpuPool:
    """Of another worker on the same machine."""
    return GpuPool(GPUS, folder, sizes=SIZES)


def take(pool: GpuPool, count: int = 1, gib: float = 0) -> GpuAllocation:
    allocation = pool.take(count, int(gib * GIB))
    assert allocation is not None
    return allocation


def drop(allocation: GpuAllocation) -> None:
    for lock in allocation.locks:
        lock.close()


def test_shares_go_together_onto_the_gpu_with_the_least_room(pool: GpuPool, neighbour: GpuPool) -> None:
    first, second, third = take(pool, gib=3), take(neighbour, gib=5), take(pool, gib=6)
    assert (first.gpus, second.gpus, third.gpus) == (GPUS[:1], GPUS[:1], GPUS[1:])
    assert (first.memory, second.fraction, third.shared) == (3 * GIB, 5 / 8, True)
    assert neighbour.take(1, 3 * GIB) is None
    small = take(neighbour, gib=2)
    assert small.gpus == GPUS[1:]
    drop(first)
    assert take(neighbour, gib=3).gpus == GPUS[:1]


def test_a_whole_gpu_is_shared_with_nobody(pool: GpuPool, neighbour: GpuPool) -> None:
    share = take(pool, gib=1)
    whole = take(neighbour)
    assert (whole.gpus, whole.fraction, whole.shared) == (GPUS[1:], None, False)
    assert pool.take(1) is None
    assert pool.take(1, 8 * GIB) is None
    drop(share)
    assert take(pool).gpus == GPUS[:1]
    assert neighbour.take(1, MIB) is None


def test_a_share_of_several_gpus_is_had_of_all_of_them_or_of_none(pool: GpuPool, neighbour: GpuPool) -> None:
    one = take(pool, gib=5)
    assert pool.take(2, 4 * GIB) is None
    both = take(neighbour, 2, 3)
    assert both.gpus == GPUS
    drop(one)
    drop(both)
    assert take(pool, 2).gpus == GPUS


def test_what_a_sleeper_gives_back_others_have_until_it_wakes(pool: GpuPool, neighbour: GpuPool) -> None:
    sleeper = take(pool)
    sleeper.keep_only(GIB)
    assert sleeper.memory == GIB
    other = take(neighbour, 2)
    assert other.gpus == GPUS
    assert other.fraction == 7 / 8
    assert not sleeper.take_again()
    assert sleeper.memory == GIB
    other.keep_only(GIB)
    assert not sleeper.take_again(), "it had more before it slept"
    drop(other)
    assert sleeper.take_again()
    assert (sleeper.memory, sleeper.fraction) == (8 * GIB, None)
    assert neighbour.take(2) is None


def test_a_sleeper_wakes_beside_others_if_what_it_needs_is_there(pool: GpuPool, neighbour: GpuPool) -> None:
    sleeper = take(pool, 2)
    sleeper.keep_only(GIB, 7 * GIB)
    other = take(neighbour, 2)
    assert not sleeper.take_again()
    other.keep_only(GIB)
    assert sleeper.take_again()
    assert sleeper.memory == 7 * GIB


def test_sleepers_that_keep_half_of_a_gpu_leave_no_whole_one(pool: GpuPool) -> None:
    for _ in range(2):
        sleeper = take(pool, gib=4)
        sleeper.keep_only(3 * GIB)
    assert take(pool).gpus == GPUS[1:]
    assert pool.take(1) is None
    assert take(pool, gib=2).gpus == GPUS[:1]


def test_a_share_of_several_gpus_wakes_on_all_of_them_or_sleeps_on(pool: GpuPool, neighbour: GpuPool) -> None:
    sleeper = take(pool, 2, 6)
    sleeper.keep_only(GIB)
    other = take(neighbour, gib=7)
    assert not sleeper.take_again()
    assert [lock.memory for lock in sleeper.locks] == [GIB, GIB]
    assert take(neighbour, gib=7).gpus != other.gpus


async def test_more_than_a_gpu_has_is_not_waited_for(pool: GpuPool, folder: Path) -> None:
    deadline = anyio.current_time() + 10
    with pytest.raises(
        LaunchProblem, match=r"it needs 9\.7 GB of 1 GPU; the largest of this worker has 8\.6 GB"
    ):
        async with pool.allocate(1, deadline, print, memory=9 * GIB):
            pytest.fail("there is none")
    with pytest.raises(LaunchProblem, match="the largest of this worker has 0 B"):
        async with GpuPool(GPUS, folder).allocate(1, deadline, print, memory=GIB):
            pytest.fail("how much there is is not known")


@pytest.mark.slow
async def test_who_waits_for_a_share_says_so(pool: GpuPool) -> None:
    said: list[str] = []
    whole = await anyio.to_thread.run_sync(pool.take, 2)
    assert whole is not None

    async def wait() -> None:
        async with pool.allocate(1, anyio.current_time() + 10, said.append, memory=GIB) as allocation:
            assert allocation.memory == GIB
            assert visible({}, pool, allocation)["SLLM_GPU_MEMORY"] == str(GIB)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await until(lambda: bool(said))
        drop(whole)
    assert said == ["it waits for 1.1 GB of 1 GPU: too little of this worker's 2 GPUs is free"]


async def test_a_killed_worker_frees_no_memory_that_an_engine_has(folder: Path, pool: GpuPool) -> None:
    plan = fake_plan(folder)
    allocation = await anyio.to_thread.run_sync(pool.take, 2, 6 * GIB)
    assert allocation is not None
    neighbour = GpuPool(GPUS, folder, sizes=SIZES)
    async with EngineProcess(plan, hold=allocation.descriptors):
        await until(plan.paths.socket.exists)
        drop(allocation)  # as the kernel does for a dead worker
        assert await anyio.to_thread.run_sync(neighbour.take, 1, 3 * GIB) is None
        small = await anyio.to_thread.run_sync(neighbour.take, 1, 2 * GIB)
        assert small is not None
        drop(small)
    assert await anyio.to_thread.run_sync(neighbour.take, 2, 8 * GIB) is not None


async def test_on_one_gpu_one_engine_starts_at_a_time(pool: GpuPool) -> None:
    began: list[str] = []
    ready = anyio.Event()

    async def start(name: str, *gpus: str) -> None:
        async with pool.turn(gpus) as started:
            began.append(name)
            if name == "first":
                await ready.wait()
                started()
                started()
                await until(lambda: "second" in began)

    async with anyio.create_task_group() as group:
        group.start_soon(start, "first", *GPUS)
        await until(lambda: began == ["first"])
        group.start_soon(start, "second", GPUS[0])
        with anyio.move_on_after(0.05) as waited:
            async with pool.turn(GPUS[1:]):
                pytest.fail("it was not its turn")
        assert waited.cancelled_caught
        assert began == ["first"]
        ready.set()
    assert began == ["first", "second"]


# ---- the ledger itself

_HOLDER = """
import sys, time
from sllm_actors.engines.machine.gpus import GpuPool
from pathlib import Path
pool = GpuPool(("GPU-0",), Path(sys.argv[1]), sizes={"GPU-0": 8 << 30})
held = pool.take(1, 5 << 30)
print("held", flush=True)
time.sleep(600)
"""


def test_what_another_process_holds_is_free_when_it_is_killed(folder: Path, pool: GpuPool) -> None:
    command = [sys.executable, "-c", _HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert take(pool, gib=4).gpus == GPUS[1:]
        holder.kill()
    assert take(pool, gib=8).gpus == GPUS[:1]


class _Ledger:
    """Locks of one GPU of 16 MiB, and what each of them should have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.locks: dict[int, GpuLock] = {}
        self.awake: set[int] = set()

    def open(self, share: int) -> GpuLock:
        return GpuLock("g", os.open(self._path, os.O_RDWR | os.O_CREAT), 16, share)

    def held(self) -> int:
        return sum(lock.memory for lock in self.locks.values()) // MIB

    def whole(self) -> bool:
        return any(not self.locks[each].share for each in self.awake)


steps = st.lists(
    st.tuples(st.sampled_from(["take", "sleep", "wake", "close"]), st.integers(0, 4), st.integers(0, 16)),
    max_size=30,
)


@pytest.fixture
def ledger(folder: Path) -> Path:
    return folder / "g.lock"


@given(steps)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_together_no_more_is_kept_than_there_is_whatever_happens(
    ledger: Path, what: list[tuple[str, int, int]]
) -> None:
    known = _Ledger(ledger)
    for action, name, size in what:
        lock = known.locks.get(name)
        before = known.held()
        if action == "take" and lock is None:
            lock = known.open(size)
            alone = not known.awake if size == 0 else not known.whole()
            fits = alone and (16 - before >= size if size else 16 - before >= 8)
            assert lock.take() == fits
            if fits:
                known.locks[name] = lock
                known.awake.add(name)
                assert lock.memory // MIB == (size or 16 - before)
            else:
                assert lock.memory == 0
                lock.close()
        elif action == "sleep" and lock is not None and name in known.awake:
            kept = min(lock.memory, size * MIB)
            lock.keep_only(kept)
            known.awake.remove(name)
            assert lock.memory == kept
        elif action == "wake" and lock is not None and name not in known.awake:
            kept = lock.memory
            if lock.take():
                known.awake.add(name)
                assert not known.whole() or len(known.awake) == 1
            else:
                assert lock.memory == kept
        elif action == "close" and lock is not None:
            lock.close()
            del known.locks[name]
            known.awake.discard(name)
        assert known.held() <= 16
        probe = known.open(1)
        assert probe.unlocked() == (0 if known.whole() else 16 - known.held())
        probe.close()
    for lock in known.locks.values():
        lock.close()
