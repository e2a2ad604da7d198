"""An engine on its leash: however it ends, nothing of it stays behind."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.engines.kit import (
    alive,
    fake_plan,
    leash_of,
    log_of,
    members,
    open_files,
    remove,
    script_plan,
    shared_memory,
    until,
)

from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.ownership.engine_process import EngineProcess, Exit
from sllm_actors.engines.ownership.leash import LOOK
from sllm_actors.engines.ownership.running import RunningEngines
from sllm_actors.engines.plan import EnginePaths, LaunchPlan

pytestmark = pytest.mark.anyio


def nothing_left(paths: EnginePaths) -> bool:
    return not paths.socket.exists() and not paths.tmpdir.exists()


async def test_an_engine_that_is_stopped_leaves_nothing(folder: Path) -> None:
    plan = fake_plan(folder, "--escapee", str(folder / "pid"), "--say", "hello")
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        escapee = int((folder / "pid").read_text())
        assert os.getpgid(engine.pid) == engine.pid
        assert alive(escapee)
        assert str(await engine.stop(5.0)) == "signal SIGTERM"
        assert not alive(engine.pid)
        assert not alive(escapee)
        assert nothing_left(plan.paths)
    assert log_of(plan) == "---- engine starts\nhello\n"


async def test_an_engine_that_ignores_sigterm_is_killed_when_its_budget_is_over(folder: Path) -> None:
    plan = fake_plan(folder, "--ignore-sigterm")
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        assert await engine.stop(0.2) == Exit(signal=signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before it starts", "while it runs", "while it ends"])
async def test_an_engine_that_is_hurried_gets_no_more_than_that(folder: Path, when: str) -> None:
    plan = fake_plan(folder, "--ignore-sigterm", stop_budget=3600.0)
    running = RunningEngines()
    if when == "before it starts":
        running.hurry(0.2)
    with anyio.fail_after(60):
        async with EngineProcess(plan, running=running) as engine:
            await until(plan.paths.socket.exists)
            if when == "while it runs":
                running.hurry(0.2)
            elif when == "while it ends":
                with anyio.move_on_after(0.2):
                    await engine.stop(3600.0)
                running.hurry(0.2)
    assert await engine.wait() == Exit(signal=signal.SIGKILL)
    running.hurry(0.1)  # it is not there any more


@pytest.mark.parametrize("code", [0, 3])
async def test_an_engine_that_ends_by_itself_is_reported_with_its_code(folder: Path, code: int) -> None:
    plan = fake_plan(folder, "--exit", str(code), "--escapee", str(folder / "pid"), "--say", "last words")
    async with EngineProcess(plan) as engine:
        assert await engine.exited() == Exit(code=code)
        assert log_of(plan).endswith("last words\n")
        assert await engine.wait() == Exit(code=code)
        assert not alive(int((folder / "pid").read_text()))
        assert nothing_left(plan.paths)


async def test_what_an_engine_says_last_is_in_the_log_when_its_end_is_known(folder: Path) -> None:
    plan = script_plan(
        folder, "import os; os.write(1, b'x' * 60000); os.write(2, b'end'); os.kill(os.getpid(), 9)"
    )
    async with EngineProcess(plan) as engine:
        assert str(await engine.exited()) == "signal SIGKILL"
        assert log_of(plan).endswith("xend")


async def test_an_engine_has_descriptors_for_each_connection_that_the_hard_limit_allows(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plan = script_plan(folder, "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
    try:
        async with EngineProcess(plan) as engine:
            await engine.exited()
            assert log_of(plan).splitlines()[-1] == f"{min(hard, 65536)} {hard}"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_cancelled_owner_ends_the_engine_first(folder: Path) -> None:
    plan = fake_plan(folder)
    pids: list[int] = []

    async def own() -> None:
        async with EngineProcess(plan) as engine:
            pids.append(engine.pid)
            await engine.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(own)
        await until(lambda: pids and plan.paths.socket.exists())
        group.cancel_scope.cancel()
    assert not alive(pids[0])
    assert nothing_left(plan.paths)


async def test_a_program_that_is_not_there_is_one_sentence(folder: Path) -> None:
    plan = fake_plan(folder)
    plan = LaunchPlan(("/nowhere/engine",), plan.env, plan.paths)
    with pytest.raises(LaunchProblem, match="/nowhere/engine cannot be started: No such file or directory"):
        async with EngineProcess(plan):
            raise AssertionError
    assert nothing_left(plan.paths)


async def test_shared_memory_that_a_killed_engine_left_is_removed(folder: Path) -> None:
    left = shared_memory("test")
    plan = fake_plan(folder, "--shared-memory", left.name)
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        assert left.exists()
        await engine.stop(0.0)
    assert not left.exists()


async def test_shared_memory_that_somebody_uses_stays(folder: Path) -> None:
    used = shared_memory("used")
    plan = fake_plan(folder, "--shared-memory", used.name)
    try:
        async with EngineProcess(plan) as engine:
            await until(plan.paths.socket.exists)
            with used.open("rb"):
                await engine.stop(0.0)
                assert used.exists()
    finally:
        remove(used)


async def test_shared_memory_of_somebody_who_is_out_of_sight_stays(folder: Path) -> None:
    """As in a container that shares it with the processes of its machine."""
    strange = shared_memory("strange")
    plan = fake_plan(folder)
    try:
        async with EngineProcess(plan) as engine:
            await until(plan.paths.socket.exists)
            strange.write_bytes(b"x")
            await engine.stop(0.0)
        assert strange.exists()
    finally:
        remove(strange)


async def test_shared_memory_that_is_older_than_the_engine_stays(folder: Path) -> None:
    old = shared_memory("old")
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    plan = script_plan(folder, f"f = open({str(old)!r}); import time; time.sleep(60)")
    try:
        async with EngineProcess(plan) as engine:
            await until(lambda: str(old) in open_files(engine.pid))
            await engine.stop(0.0)
        assert old.exists()
    finally:
        remove(old)


@pytest.mark.slow
@pytest.mark.parametrize("leash_is_killed", [False, True], ids=["by its leash", "by its worker"])
async def test_shared_memory_of_a_process_that_has_ended_before_the_engine_is_removed(
    folder: Path, leash_is_killed: bool
) -> None:
    left = shared_memory("early")
    child = f"f = open({str(left)!r}, 'x'); import time; time.sleep(60)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); input()"
    plan = script_plan(folder, f"import os; os.dup2(os.pipe()[0], 0); {script}")
    try:
        async with EngineProcess(plan) as engine:
            await until(left.exists)
            await anyio.sleep(LOOK + 0.5)
            (maker,) = [pid for pid in members(engine.pid) if pid != engine.pid]
            os.kill(maker, signal.SIGKILL)
            await until(lambda: not alive(maker))
            if leash_is_killed:
                os.kill(leash_of(engine.pid), signal.SIGKILL)
                await engine.wait()
            else:
                await engine.stop(0.0)
        assert not left.exists()
    finally:
        remove(left)


async def test_a_semaphore_that_somebody_uses_stays(folder: Path) -> None:
    """Its mapping names a file that is gone: an engine that starts must not lose its own to one that ends."""
    plan = fake_plan(folder)
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        kept = multiprocessing.get_context("spawn").Lock()
        await engine.stop(0.0)
    name: str = kept._semlock.name  # type: ignore[attr-defined]
    assert f"sem.{name.removeprefix('/')}" in os.listdir("/dev/shm")  # noqa: PTH208


async def test_when_the_leash_is_killed_the_worker_kills_the_engine(folder: Path) -> None:
    plan = fake_plan(folder, "--escapee", str(folder / "pid"), "--ignore-sigterm")
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        os.kill(leash_of(engine.pid), signal.SIGKILL)
        assert await engine.exited() == Exit()
        await engine.wait()
        assert not alive(engine.pid)
        assert not alive(int((folder / "pid").read_text()))
        assert nothing_left(plan.paths)


WORKER = """
import sys, anyio
from pathlib import Path
from sllm_actors.engines.ownership.engine_process import EngineProcess
from tests.engines.kit import fake_plan

async def main():
    folder = Path(sys.argv[1])
    plan = fake_plan(folder, "--escapee", str(folder / "pid"), *sys.argv[2:])
    async with EngineProcess(plan) as engine:
        print(engine.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.slow
async def test_when_the_worker_is_killed_nothing_is_left_after_3_s_of_an_engine_that_ignores_sigterm(
    folder: Path,
) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", WORKER, str(folder), "--ignore-sigterm"]
    async with await anyio.open_process(command, cwd=root, stderr=None) as worker:
        assert worker.stdout is not None
        pid = int(await worker.stdout.receive())
        plan = fake_plan(folder)
        await until(plan.paths.socket.exists)
        leash, escapee = leash_of(pid), int((folder / "pid").read_text())
        worker.kill()
        await until(lambda: not (alive(pid) or alive(escapee) or alive(leash)), timeout=3.0)
    assert nothing_left(plan.paths)


@pytest.mark.slow
async def test_a_worker_that_is_killed_while_it_stops_an_engine_ends_its_patience(folder: Path) -> None:
    plan = fake_plan(folder, "--ignore-sigterm")
    async with EngineProcess(plan) as engine:
        await until(plan.paths.socket.exists)
        async with anyio.create_task_group() as group:
            group.start_soon(engine.stop, 60.0)
            await anyio.sleep(0.1)
            os.close(engine._control)  # as the kernel does for a dead worker
            engine._control = os.open("/dev/null", os.O_WRONLY)
            await until(lambda: not alive(engine.pid), timeout=3.0)


@pytest.mark.slow
async def test_when_the_worker_is_killed_the_engine_and_its_escapees_are_gone(folder: Path) -> None:
    root = Path(__file__).parents[3]
    worker = await anyio.open_process([sys.executable, "-c", WORKER, str(folder)], cwd=root, stderr=None)
    assert worker.stdout is not None
    async with worker:
        pid = int(await worker.stdout.receive())
        plan = fake_plan(folder)
        await until(plan.paths.socket.exists)
        leash, escapee = leash_of(pid), int((folder / "pid").read_text())
        worker.kill()
    await until(lambda: not alive(leash))
    assert not alive(pid)
    assert not alive(escapee)
    assert nothing_left(plan.paths)


async def test_descriptors_that_the_leash_holds_are_let_go_after_the_engine(folder: Path) -> None:
    lock = folder / "gpu.lock"
    fd = os.open(lock, os.O_CREAT | os.O_RDWR)
    try:
        plan = fake_plan(folder)
        async with EngineProcess(plan, hold=(fd,)) as engine:
            leash = leash_of(engine.pid)
            assert str(lock) in open_files(leash)
            assert str(lock) not in open_files(engine.pid)
    finally:
        os.close(fd)


async def test_nothing_leaks_in_the_worker(folder: Path) -> None:
    async with EngineProcess(fake_plan(folder)) as engine:
        await engine.stop(5.0)
    before = open_files(os.getpid())
    for _ in range(3):
        async with EngineProcess(fake_plan(folder)) as engine:
            await engine.stop(0.0)
    assert open_files(os.getpid()) == before


def test_a_leash_without_a_worker_ends() -> None:
    control, ours = os.pipe()
    os.close(ours)
    script = Path(__file__).parents[3] / "src/sllm_actors/engines/ownership/leash.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, str(control), "1"], pass_fds=(control,), timeout=10, check=False
    )
    os.close(control)
    assert done.returncode == 0


async def test_output_of_an_engine_is_told_however_late_it_is_asked_for(folder: Path) -> None:
    fifo = folder / "words"
    os.mkfifo(fifo)
    plan = script_plan(
        folder, f"while True:\n  with open({str(fifo)!r}) as words: print(words.read(), flush=True)"
    )

    def write(word: str) -> None:
        fifo.write_text(word)

    async with EngineProcess(plan) as engine, anyio.create_task_group() as group:
        group.start_soon(engine.exited)
        await anyio.to_thread.run_sync(write, "before it is asked for")
        await until(lambda: "before" in log_of(plan))
        with anyio.fail_after(60):
            await engine.output()
        with anyio.move_on_after(0.1) as silence:
            await engine.output()
        assert silence.cancelled_caught
        await anyio.to_thread.run_sync(write, "after the question was given up")
        with anyio.fail_after(60):
            await engine.output()
        assert log_of(plan).endswith("given up\n")
        group.cancel_scope.cancel()
