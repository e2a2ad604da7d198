"""Engines that are forked from a fork server: owned as those that are started as programs, and warm."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import evolve
from tests.children import child
from tests.engines.kit import alive, environment_of, leash_of, log_of, members, open_files, until
from tests.engines.tiny import facts_of, plan_in, spec_for

from sllm_actors.engines.environment import MARKER
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.ownership.leases import Leases
from sllm_actors.engines.ownership.leash_process import ForkFailed
from sllm_actors.engines.ownership.orphans import kill_once
from sllm_actors.engines.ownership.procfs import SharedMemory
from sllm_actors.engines.warm import fork_client
from sllm_actors.engines.warm.fork_client import ForkServer, open_fork_server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(folder: Path, modules: Path) -> AsyncIterator[ForkServer]:
    async with open_fork_server(spec_for(plan_in(folder, modules)), folder / "warm.log") as server:
        yield server


def child_of(pid: int) -> int:
    (only,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(only)


async def test_a_fork_is_what_the_program_would_be(folder: Path, modules: Path, server: ForkServer) -> None:
    plan = plan_in(folder, modules, "--flag", LATE="yes")
    async with EngineProcess(plan, forker=server) as engine:
        facts = await facts_of(folder)
        mark = {MARKER: plan.paths.socket.name}
        assert facts["env"] == {"TMPDIR": str(plan.paths.tmpdir), "LATE": "yes"} | mark
        assert facts["temporary"] == str(plan.paths.tmpdir)
        assert facts["cwd"] == "/"
        assert facts["collects"], "it is to collect garbage"
        assert facts["sid"] == engine.pid
        assert os.getpgid(engine.pid) == engine.pid
        assert leash_of(engine.pid) != server.pid
        assert leash_of(leash_of(engine.pid)) == server.pid
        links = str(facts["links"])
        assert "socket:" not in links, "it has the server's link"
        assert links.count("pipe:") == 2, "it has more than its output"
        await until(lambda: f"argv ['{folder}', '--flag']" in log_of(plan))
    assert not members(engine.pid)
    assert not plan.paths.tmpdir.exists()


async def test_each_process_says_what_it_is(folder: Path, modules: Path, server: ForkServer) -> None:
    plan = plan_in(folder, modules)
    replica = plan.header.rpartition(" ")[2]
    async with EngineProcess(plan, forker=server) as forked:
        assert title_of(server.pid) == ("sllm-forkserver", "sllm fork server")
        assert title_of(forked.leash_pid) == ("sllm-leash", f"sllm leash of {replica}")
        assert title_of(forked.pid) == ("sllm-engine", f"sllm engine of {replica}")
        assert environment_of(forked.pid)[MARKER] == plan.paths.socket.name
    async with EngineProcess(plan_in(folder, modules, name="b")) as started:
        assert title_of(started.leash_pid) == ("sllm-leash", f"sllm leash of {replica}")


def title_of(pid: int) -> tuple[str, str]:
    """Return what ``top`` and ``ps`` call a process."""
    folder = Path(f"/proc/{pid}")
    return (folder / "comm").read_text().strip(), (folder / "cmdline").read_text().rstrip("\0")


@pytest.mark.parametrize(("variable", "threads"), [({}, 5), ({"OMP_NUM_THREADS": "2"}, 2)])
async def test_a_fork_computes_with_threads_of_its_own_number(
    folder: Path, modules: Path, variable: dict[str, str], threads: int
) -> None:
    spec = spec_for(plan_in(folder, modules, OMP_NUM_THREADS="5"), "torch")
    plan = plan_in(folder, modules, **({"OMP_NUM_THREADS": "5"} | variable))
    async with open_fork_server(spec, folder / "warm.log") as server, EngineProcess(plan, forker=server):
        assert (await facts_of(folder))["threads"] == threads


async def test_a_fork_need_not_import_what_the_server_has(
    folder: Path, modules: Path, server: ForkServer
) -> None:
    plan = plan_in(folder, modules)
    async with EngineProcess(plan, forker=server):
        facts = await facts_of(folder)
        late = (plan.paths.tmpdir / "late-imports").read_text().split()
        assert "colorsys" in late
        assert "multiprocessing" not in late
        await server.learn(late)
    (folder / "facts.json").unlink()
    plan = plan_in(folder, modules, name="b")
    async with EngineProcess(plan, forker=server):
        facts = await facts_of(folder)
        assert "colorsys" not in (plan.paths.tmpdir / "late-imports").read_text().split()
        assert facts["late"]


async def test_what_a_fork_would_spawn_is_forked_and_ends_with_it(
    folder: Path, modules: Path, server: ForkServer
) -> None:
    async with EngineProcess(plan_in(folder, modules), forker=server) as engine:
        facts = await facts_of(folder)
        worker = int(str(facts["worker"]))
        assert os.getpgid(worker) == engine.pid
        os.kill(engine.pid, signal.SIGKILL)
        assert (await engine.exited()).signal == signal.SIGKILL
        await engine.wait()
        assert not alive(worker)


@pytest.mark.parametrize(
    ("arguments", "code", "said"), [(("exit", "7"), 7, ""), (("fail",), 1, "RuntimeError: no such weights")]
)
async def test_a_fork_ends_as_a_program_does(
    folder: Path, modules: Path, server: ForkServer, arguments: tuple[str, ...], code: int, said: str
) -> None:
    plan = plan_in(folder, modules, *arguments)
    async with EngineProcess(plan, forker=server) as engine:
        assert (await engine.exited()).code == code
    assert said in log_of(plan)


async def test_a_module_that_a_fork_would_run_as_a_program_with_its_output_captured_is_forked(
    folder: Path, modules: Path, server: ForkServer
) -> None:
    plan = plan_in(folder, modules, "look")
    async with EngineProcess(plan, forker=server):
        await facts_of(folder)
    assert "looked 3 forked at it []\nat its end\n nothing found\n" in log_of(plan)
    assert "as a program started  []\nat its end\n" in log_of(plan)


@pytest.mark.slow
async def test_a_server_tells_how_far_it_is(folder: Path, modules: Path) -> None:
    (modules / "slow.py").write_text("import time, colorsys\ntime.sleep(1.1)\nimport wave")
    told: list[int] = []
    spec = spec_for(plan_in(folder, modules), "slow")
    async with open_fork_server(spec, folder / "warm.log", imported=told.append) as server:
        assert len(told) >= 2
        assert told == sorted(told)
        assert told[-1] <= server.modules
        async with EngineProcess(plan_in(folder, modules), forker=server):
            await facts_of(folder)
        assert len(told) < server.modules, "it told of each"


async def test_a_fork_need_not_wait_until_everything_is_learnt(
    folder: Path, modules: Path, server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_client, "LESSON", 1)
    begun, facts = modules / "begun", folder / "facts.json"
    (modules / "begins.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(0.2)\n"
    )
    (modules / "waits_for_the_engine.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(facts)!r}):\n    time.sleep(0.01)\n"
    )
    async with anyio.create_task_group() as group:
        group.start_soon(server.learn, ["begins", "waits_for_the_engine"])
        await until(begun.exists)
        async with EngineProcess(plan_in(folder, modules), forker=server) as engine:
            await facts_of(folder)
            assert leash_of(leash_of(engine.pid)) == server.pid


async def test_the_processes_of_a_fork_bear_its_mark(folder: Path, modules: Path, server: ForkServer) -> None:
    plan = plan_in(folder, modules)
    async with EngineProcess(plan, forker=server) as engine:
        worker = int(str((await facts_of(folder))["worker"]))
        for pid in (engine.pid, worker):
            assert environment_of(pid)[MARKER] == plan.env[MARKER]
        for pid in (server.pid, leash_of(engine.pid)):
            assert environment_of(pid)[MARKER] != plan.env[MARKER]


async def test_the_death_of_the_server_touches_no_engine(folder: Path, modules: Path) -> None:
    plan = plan_in(folder, modules)
    async with open_fork_server(spec_for(plan), folder / "warm.log") as server:
        async with EngineProcess(plan, forker=server) as engine:
            await facts_of(folder)
            os.kill(server.pid, signal.SIGKILL)
            assert await server.ended() == "it ended with -9"
            with pytest.raises(ForkFailed):
                await server.fork(0, 1, ())
            await anyio.sleep(0.05)
            assert alive(engine.pid)
            assert alive(leash_of(engine.pid))
        assert not members(engine.pid)


async def test_without_its_server_an_engine_is_started_as_a_program(folder: Path, modules: Path) -> None:
    plan = plan_in(folder, modules)
    async with open_fork_server(spec_for(plan), folder / "warm.log") as server:
        os.kill(server.pid, signal.SIGKILL)
        await server.ended()
        async with EngineProcess(plan, forker=server) as engine:
            await facts_of(folder)
            assert leash_of(leash_of(engine.pid)) == os.getpid()
            assert not (plan.paths.tmpdir / "late-imports").exists()


async def test_when_the_leash_of_a_fork_is_killed_the_worker_kills_the_engine(
    folder: Path, modules: Path, server: ForkServer
) -> None:
    plan = plan_in(folder, modules)
    async with EngineProcess(plan, forker=server) as engine:
        worker = int(str((await facts_of(folder))["worker"]))
        os.kill(leash_of(engine.pid), signal.SIGKILL)
        await engine.exited()
        await engine.wait()
        assert not alive(engine.pid)
        assert not alive(worker)
    assert not plan.paths.tmpdir.exists()


async def test_a_fork_that_outlives_worker_and_leash_is_found_by_its_mark(
    folder: Path, modules: Path, server: ForkServer
) -> None:
    plan = plan_in(folder, modules)
    async with EngineProcess(plan, forker=server) as engine:
        worker = int(str((await facts_of(folder))["worker"]))
        os.kill(leash_of(engine.pid), signal.SIGSTOP)  # which would kill the one when the other has ended
        assert (
            await anyio.to_thread.run_sync(
                kill_once, 0, 0, plan.env[MARKER], SharedMemory(0.0, str(plan.paths.tmpdir))
            )
            == 2
        )
        os.kill(leash_of(engine.pid), signal.SIGCONT)
        await until(lambda: not alive(engine.pid) and not alive(worker))


@pytest.fixture
def leases(folder: Path) -> Leases:
    (folder / "leases").mkdir()
    return Leases(folder / "leases")


async def test_the_leash_of_a_fork_is_on_record_and_holds_the_locks(
    folder: Path, modules: Path, server: ForkServer, leases: Leases
) -> None:
    lock = folder / "gpu.lock"
    with lock.open("w") as file:
        async with EngineProcess(
            plan_in(folder, modules), forker=server, leases=leases, hold=(file.fileno(),)
        ) as engine:
            facts = await facts_of(folder)
            leash = leash_of(engine.pid)
            (record,) = leases.folder.iterdir()
            assert json.loads(record.read_text())["leash"] == leash
            assert str(lock) in open_files(leash)
            assert str(lock) not in str(facts["links"])
            assert str(lock) not in open_files(server.pid)
        assert not list(leases.folder.iterdir())


async def test_a_server_that_cannot_be_forked_says_why(folder: Path, modules: Path) -> None:
    spec = spec_for(plan_in(folder, modules), "starts_a_thread")
    with pytest.raises(ForkFailed, match="threads run in it"):
        async with open_fork_server(spec, folder / "warm.log"):
            pytest.fail("it is unfit")


async def test_a_lesson_that_makes_it_unfit_ends_it(folder: Path, modules: Path, server: ForkServer) -> None:
    with pytest.raises(ForkFailed, match="threads run in it"):
        await server.learn(["starts_a_thread"])
    assert "threads run in it" in await server.ended()


async def test_a_server_that_misses_a_module_says_which(folder: Path, modules: Path) -> None:
    spec = spec_for(plan_in(folder, modules), "no_such_module")
    with pytest.raises(ForkFailed, match="no_such_module cannot be imported"):
        async with open_fork_server(spec, folder / "warm.log"):
            pytest.fail("it has nothing to fork")


@pytest.mark.slow
async def test_what_cannot_be_learnt_is_left_out(folder: Path, modules: Path, server: ForkServer) -> None:
    await server.learn(["no_such_module", *(f"no_such_module_{i}" for i in range(20_000))])
    async with EngineProcess(plan_in(folder, modules), forker=server):
        await facts_of(folder)


async def test_a_missing_interpreter_is_told(folder: Path, modules: Path) -> None:
    spec = evolve(spec_for(plan_in(folder, modules)), python="/no/such/python")
    with pytest.raises(ForkFailed, match="/no/such/python cannot be started"):
        async with open_fork_server(spec, folder / "warm.log"):
            pytest.fail("there is none")


def test_a_server_ends_with_its_worker_even_while_it_imports(folder: Path, modules: Path) -> None:
    script = f"""
import anyio, sys
from pathlib import Path
from sllm_actors.engines.warm.fork_client import ForkServerSpec, open_fork_server
async def main():
    spec = ForkServerSpec("tiny", sys.executable, ("takes_for_ever",), {{"PYTHONPATH": {str(modules)!r}}})
    async with open_fork_server(spec, Path({str(folder / "warm.log")!r})):
        pass
anyio.run(main)
"""
    with child([sys.executable, "-c", script]) as worker:
        while not (modules / "begun").exists():
            assert worker.poll() is None
            time.sleep(0.01)
        server = child_of(worker.pid)
        assert alive(server)
    deadline = time.monotonic() + 5
    while alive(server):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_message_that_comes_while_it_imports_waits(folder: Path, modules: Path) -> None:
    (modules / "waits.py").write_text(
        f"import pathlib, time\nfolder = pathlib.Path({str(folder)!r})\n(folder / 'begun').touch()\n"
        "while not (folder / 'told').exists():\n    time.sleep(0.01)\n"
    )
    link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    held, lifeline = socket.socketpair()
    with link, theirs, held, lifeline:
        fds = (theirs.fileno(), lifeline.fileno())
        argv = [sys.executable, str(fork_client.PROGRAM), *map(str, fds)]
        with child(argv, env={"PYTHONPATH": str(modules)}, pass_fds=fds) as server:
            theirs.close()
            link.send(b'{"modules": ["waits"], "learned": []}')
            while not (folder / "begun").exists():
                assert server.poll() is None
                time.sleep(0.01)
            link.send(b'{"learn": []}')
            (folder / "told").touch()
            said: list[str] = []
            while "learned" not in said:
                said.append(json.loads(link.recv(1000))["event"])
            assert said[-2:] == ["ready", "learned"]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"LATE": "other"}, True),
        ({"TMPDIR": "/elsewhere"}, True),
        ({"OMP_NUM_THREADS": "3"}, False),
        ({"PYTHONPATH": "/elsewhere"}, False),
    ],
)
def test_a_plan_fits_a_server_whose_imports_it_would_share(change: dict[str, str], fits: bool) -> None:
    plan = plan_in(Path("/f"), Path("/m"))
    assert spec_for(plan).fits(evolve(plan, env={**plan.env, **change})) is fits


def test_a_plan_of_another_program_or_interpreter_does_not_fit() -> None:
    plan = plan_in(Path("/f"), Path("/m"))
    assert not spec_for(plan).fits(evolve(plan, argv=("/other/python", *plan.argv[1:])))
    assert not spec_for(plan).fits(evolve(plan, argv=(sys.executable, "program.py")))
