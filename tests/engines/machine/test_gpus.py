"""GPUs belong to one engine at a time, over all workers of a machine, until nothing of it is left."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.kit import (
    FakeBackend,
    alive,
    altered,
    environment_of,
    fake_plan,
    leash_of,
    open_files,
    report_of,
    start,
    until,
)

from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.host import EngineHost, open_host
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.machine.gpus import GpuAllocation, GpuPool, choose_gpus, visible
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState, StopReplica
from sllm_actors.engines.ownership import engine_process as process
from sllm_actors.engines.ownership import gpu_memory, leases
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.replica import engine_life
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

GPUS = ("GPU-0", "GPU-1", "GPU-2", "GPU-3")


@pytest.fixture
def pool(folder: Path) -> GpuPool:
    return GpuPool(GPUS, folder)


def soon() -> float:
    return anyio.current_time() + 0.3


def ignore(_: str) -> None:
    """Nobody has to wait."""


# ---- which ones


@pytest.mark.parametrize(
    ("free", "count", "chosen"),
    [
        ((0, 1, 2, 3), 2, (0, 1)),
        ((0, 2, 3), 1, (0,)),
        ((0, 2, 3), 2, (2, 3)),
        ((0, 2), 2, (0, 2)),
        ((0, 1, 3), 1, (3,)),
        ((0,), 2, None),
        ((), 1, None),
    ],
)
def test_neighbours_are_taken_and_large_runs_kept(
    free: tuple[int, ...], count: int, chosen: tuple[int, ...] | None
) -> None:
    found = choose_gpus(GPUS, {GPUS[n] for n in free}, count)
    assert found == (None if chosen is None else tuple(GPUS[n] for n in chosen))


@given(st.sets(st.sampled_from(GPUS)), st.integers(1, 5))
def test_what_is_chosen_is_free_and_enough_or_nothing(free: set[str], count: int) -> None:
    chosen = choose_gpus(GPUS, free, count)
    if chosen is None:
        assert len(free) < count
    else:
        assert len(set(chosen)) == count
        assert set(chosen) <= free


# ---- lending


async def test_an_allocation_is_exclusive_and_comes_back(pool: GpuPool) -> None:
    async with pool.allocate(3, soon(), ignore) as allocation:
        assert allocation.gpus == GPUS[:3]
        assert pool.free == 1
        async with pool.allocate(1, soon(), ignore) as other:
            assert other.gpus == GPUS[3:]
    assert pool.free == 4


async def test_it_is_exclusive_between_workers_too(pool: GpuPool, folder: Path) -> None:
    neighbour = GpuPool(GPUS, folder)
    async with pool.allocate(2, soon(), ignore), neighbour.allocate(2, soon(), ignore) as theirs:
        assert theirs.gpus == GPUS[2:]


@pytest.mark.slow
async def test_who_waits_says_so_and_gets_what_comes_back(pool: GpuPool) -> None:
    said: list[str] = []

    async def wait() -> None:
        async with pool.allocate(4, anyio.current_time() + 10, said.append) as allocation:
            assert allocation.gpus == GPUS

    async with anyio.create_task_group() as group, pool.allocate(1, soon(), ignore):
        group.start_soon(wait)
        await until(lambda: bool(said))
    assert said == ["it waits for 4 GPUs: too few of this worker's 4 GPUs are free"]
    assert pool.free == 4


async def test_who_waits_too_long_is_told(pool: GpuPool) -> None:
    async with pool.allocate(4, soon(), ignore):
        with pytest.raises(LaunchProblem, match="it waited in vain for 1 GPU: too few of this worker's 4"):
            async with pool.allocate(1, soon(), ignore):
                pytest.fail("there was none")


async def test_what_the_worker_does_not_have_is_not_waited_for(folder: Path) -> None:
    pool = GpuPool(GPUS[:2], folder, withheld=lambda: frozenset(GPUS[1:]))
    assert pool.free == 1
    with pytest.raises(LaunchProblem, match="this worker has 1 GPU beside 1 GPU with an engine that cannot"):
        async with pool.allocate(2, soon(), ignore):
            pytest.fail("there are none")


async def test_a_cancelled_wait_keeps_nothing(pool: GpuPool) -> None:
    async with pool.allocate(1, soon(), ignore):
        with anyio.move_on_after(0.05):
            async with pool.allocate(4, anyio.current_time() + 10, ignore):
                pytest.fail("there were not enough")
    assert pool.free == 4
    async with pool.allocate(4, soon(), ignore):
        pass


def test_an_engine_sees_its_gpus_and_no_others(folder: Path, pool: GpuPool) -> None:
    assert visible({"A": "b"}, pool, GpuAllocation(GPUS[1:3])) == {
        "A": "b",
        "CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2",
    }
    assert visible({"CUDA_VISIBLE_DEVICES": "7"}, pool, GpuAllocation())["CUDA_VISIBLE_DEVICES"] == ""
    unknown = evolve(pool, gpus=None)
    assert visible({"CUDA_VISIBLE_DEVICES": "7"}, unknown, GpuAllocation()) == {"CUDA_VISIBLE_DEVICES": "7"}


# ---- replicas


@pytest.fixture
def gpu_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> EngineHost:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: FakeBackend())
    return altered(open_host(folder, gpus=GPUS[:2], gpu_locks=folder / "gpus"), nvidia_smi="")


def order(number: int, gpus: int, timeout: float = 20.0) -> ReplicaOrder:
    key = ReplicaKey("m:fake", 1, number)
    return ReplicaOrder(key, "m", "fake", "", num_gpus=gpus, startup_timeout=timeout)


@pytest.mark.slow
async def test_a_replica_waits_for_the_gpus_of_another(gpu_host: EngineHost, folder: Path) -> None:
    async with TestSystem() as system:
        first, heard = await start(system, order(1, 2), gpu_host)
        ready = await report_of(heard, ReplicaState.READY)
        held = open_files(leash_of(ready.pid))
        assert {str(folder / "gpus" / f"{gpu}.lock") for gpu in GPUS[:2]} <= set(held)
        assert environment_of(ready.pid)["CUDA_VISIBLE_DEVICES"] == "GPU-0,GPU-1"
        (lease,) = gpu_host.leases.folder.iterdir()
        assert '"gpus": ["GPU-0", "GPU-1"]' in lease.read_text()
        _, second_heard = await start(system, order(2, 1), gpu_host, name="second")
        waiting = await report_of(second_heard, ReplicaState.PENDING)
        assert waiting.progress == "it waits for 1 GPU: too few of this worker's 2 GPUs are free"
        first.tell(StopReplica("test", drain=False))
        await report_of(second_heard, ReplicaState.READY)


@pytest.mark.slow
async def test_the_wait_for_a_gpu_counts_as_part_of_the_start(gpu_host: EngineHost) -> None:
    async with TestSystem() as system:
        _, heard = await start(system, order(1, 2), gpu_host)
        await report_of(heard, ReplicaState.READY)
        _, second_heard = await start(system, order(2, 1, timeout=0.2), gpu_host, name="second")
        failed = await report_of(second_heard, ReplicaState.FAILED)
        assert "it waited in vain for 1 GPU" in failed.reason


async def test_a_replica_that_waits_for_a_gpu_can_be_stopped(gpu_host: EngineHost) -> None:
    async with TestSystem() as system:
        _, heard = await start(system, order(1, 2), gpu_host)
        await report_of(heard, ReplicaState.READY)
        second, second_heard = await start(system, order(2, 1), gpu_host, name="second")
        await report_of(second_heard, ReplicaState.PENDING, lambda report: report.progress != "")
        second.tell(StopReplica("test"))
        await report_of(second_heard, ReplicaState.STOPPED)


async def test_a_killed_worker_frees_no_gpu_that_an_engine_uses(folder: Path, pool: GpuPool) -> None:
    plan = fake_plan(folder)
    neighbour = GpuPool(GPUS[:1], folder)
    allocation = await anyio.to_thread.run_sync(pool.take, 1)
    assert allocation is not None
    async with EngineProcess(plan, hold=allocation.descriptors) as engine:
        await until(plan.paths.socket.exists)
        for lock in allocation.locks:
            lock.close()  # as the kernel does for a dead worker
        assert await anyio.to_thread.run_sync(neighbour.take, 1) is None
        assert alive(engine.pid)
    async with neighbour.allocate(1, soon(), ignore):
        pass


async def test_the_gpu_of_an_engine_that_cannot_be_killed_is_withheld_until_it_is_gone(
    gpu_host: EngineHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = gpu_host
    neighbour = GpuPool(GPUS[:1], folder / "gpus")

    async def in_vain(*_: object) -> bool:
        return False

    async with host.hardware.gpus.allocate(1, soon(), ignore) as allocation:
        plan = evolve(fake_plan(folder), gpus=allocation.gpus)
        async with EngineProcess(plan, hold=allocation.descriptors, leases=host.leases) as engine:
            await until(plan.paths.socket.exists)
            monkeypatch.setattr(process, "kill_orphans", in_vain)
            os.kill(leash_of(engine.pid), signal.SIGKILL)
    assert alive(engine.pid)
    assert host.hardware.gpus.free == 1
    async with host.hardware.gpus.allocate(1, soon(), ignore) as other:
        assert other.gpus == GPUS[1:2]
    assert await anyio.to_thread.run_sync(neighbour.take, 1) is None
    with monkeypatch.context() as patch:
        patch.setattr(leases, "kill_once", lambda *_: 1)
        await anyio.to_thread.run_sync(host.leases.look_again)
    assert host.hardware.gpus.free == 1
    while host.leases.stuck:
        await anyio.to_thread.run_sync(host.leases.look_again)
    assert not alive(engine.pid)
    assert host.hardware.gpus.free == 2
    async with neighbour.allocate(1, soon(), ignore):
        assert list(host.leases.folder.iterdir()) == []


def test_the_gpu_of_what_a_worker_finds_and_cannot_kill_is_withheld_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = open_host(folder, gpus=GPUS[:2], gpu_locks=folder / "gpus")
    socket, tmpdir, log = (str(folder / name) for name in ("e.sock", "e.tmp", "e.log"))
    host.leases.write(leases.Lease("mark", host.leases.boot, 0.0, socket, tmpdir, log, gpus=GPUS[:1]))
    monkeypatch.setattr(leases, "kill_once", lambda *_: 1)
    monkeypatch.setattr(leases, "LEASH_BUDGET", 0.0)
    monkeypatch.setattr(leases, "KILL_BUDGET", 0.1)
    again = open_host(folder, gpus=GPUS[:2], gpu_locks=folder / "gpus")
    assert again.hardware.gpus.free == 1
    assert GpuPool(GPUS[:1], folder / "gpus").take(1) is None
    monkeypatch.undo()
    again.leases.look_again()
    assert again.hardware.gpus.free == 2
    assert GpuPool(GPUS[:1], folder / "gpus").take(1) is not None


# ---- their memory


def figures(folder: Path, *lines: str) -> list[str]:
    """Return a program that prints these lines, one each time that it is run, and then the last one."""
    (folder / "figures").write_text("\n".join(lines))
    (folder / "runs").write_text("")
    program = (
        "import pathlib, sys\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "runs = (folder / 'runs').read_text() + 'x'\n"
        "(folder / 'runs').write_text(runs)\n"
        "lines = (folder / 'figures').read_text().split('\\n')\n"
        "print(lines[min(len(runs), len(lines)) - 1].replace(' ', '\\n'))\n"
    )
    return [sys.executable, "-I", "-S", "-c", program]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "MEMORY_PAUSE", 0.01)


@pytest.mark.usefixtures("quick")
def test_the_end_waits_until_the_memory_is_back(folder: Path) -> None:
    gpu_memory.wait_for_memory(figures(folder, "8000 9000", "8000 4000", "100 10", "100 10", "0 0"))
    assert (folder / "runs").read_text() == "xxxx"


@pytest.mark.usefixtures("quick")
def test_memory_that_never_comes_back_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "MEMORY_BUDGET", 0.3)
    gpu_memory.wait_for_memory(figures(folder, *(str(1000_000 - 100 * n) for n in range(1000))))
    assert 2 <= len((folder / "runs").read_text()) < 100


@pytest.mark.parametrize("program", [[], ["/no/such/program"], [sys.executable, "-c", "print('[N/A]')"]])
def test_a_driver_that_tells_nothing_is_not_waited_for(program: list[str]) -> None:
    gpu_memory.wait_for_memory(program)


@pytest.mark.slow
async def test_the_leash_asks_for_the_gpus_of_its_engine(folder: Path) -> None:
    plan = evolve(fake_plan(folder), gpu_memory=tuple(figures(folder, "5000", "1", "1")))
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        os.kill(engine.pid, signal.SIGKILL)
        await engine.wait()
        assert (folder / "runs").read_text() == "xxx"


def test_nvidia_smi_is_asked_for_the_gpus_of_an_engine_only(gpu_host: EngineHost) -> None:
    assert gpu_host.hardware.gpu_memory(["GPU-1"]) == ()
    found = altered(gpu_host, nvidia_smi="/usr/bin/nvidia-smi").hardware.gpu_memory(["GPU-1", "GPU-0"])
    assert found[0] == "/usr/bin/nvidia-smi"
    assert found[-1] == "--id=GPU-1,GPU-0"
