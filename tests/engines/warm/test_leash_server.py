"""The leash server: leashes are forked from it, and their engines started as programs, as without it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from tests.engines.kit import alive, fake_plan, leash_of, log_of, script_plan, until
from tests.engines.warm.test_fork_server import title_of

from sllm_actors.actors import TEMPORARY, Backoff, ChildSpec
from sllm_actors.engines.environment import MARKER
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.plan import LaunchPlan
from sllm_actors.engines.warm.fork_client import ForkServer, open_fork_server
from sllm_actors.engines.warm.fork_servers import ForkServers
from sllm_actors.engines.warm.leash_server import LEASHES, LeashServerKeeper
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

FACTS = """
import json, os, signal, sys, time
print(json.dumps({
    "env": dict(os.environ),
    "cwd": os.getcwd(),
    "sid": os.getsid(0) == os.getpid(),
    "files": sorted(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in (0, 1, 2)),
    "more": [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}")],
    "ignored": [int(n) for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN],
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
}), flush=True)
time.sleep(60)
"""


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[ForkServer]:
    async with open_fork_server(LEASHES, folder / "leashes.log") as server:
        yield server


async def facts(plan: LaunchPlan, server: ForkServer | None) -> dict[str, object]:
    """Start a program that tells in its log how it finds itself."""
    before = log_of(plan)
    async with EngineProcess(plan, forker=server) as engine:
        parent = leash_of(leash_of(engine.pid))
        assert parent == (os.getpid() if server is None else server.pid)
        await until(lambda: "}\n" in log_of(plan).removeprefix(before))
        found: dict[str, object] = json.loads(log_of(plan).splitlines()[-1])
        return found


async def test_an_engine_is_as_it_is_under_a_leash_that_is_a_program(
    folder: Path, server: ForkServer
) -> None:
    plan = script_plan(folder, FACTS)
    forked = await facts(plan, server)
    assert forked == await facts(plan, None)
    assert forked["env"] == dict(plan.env)
    assert not plan.paths.tmpdir.exists()


async def test_an_engine_that_is_a_module_is_started_as_a_program_too(
    folder: Path, server: ForkServer
) -> None:
    plan = script_plan(folder, "")
    plan = evolve(plan, argv=(plan.argv[0], "-m", "this"))
    async with EngineProcess(plan, forker=server) as engine:
        assert (await engine.exited()).code == 0
    assert "Beautiful is better than ugly." in log_of(plan)


async def test_a_program_that_is_not_there_is_named(folder: Path, server: ForkServer) -> None:
    plan = evolve(script_plan(folder, ""), argv=("/no/such/program",))
    with pytest.raises(LaunchProblem, match="/no/such/program cannot be started: No such file"):
        await EngineProcess(plan, forker=server).__aenter__()


async def test_each_process_says_what_it_is(folder: Path, server: ForkServer) -> None:
    plan = fake_plan(folder)
    async with EngineProcess(plan, forker=server) as engine:
        assert title_of(server.pid) == ("sllm-leashes", "sllm leash server")
        replica = plan.header.rpartition(" ")[2]
        assert title_of(engine.leash_pid) == ("sllm-leash", f"sllm leash of {replica}")


async def test_the_end_of_the_server_touches_no_engine(folder: Path, server: ForkServer) -> None:
    async with EngineProcess(fake_plan(folder), forker=server) as engine:
        os.kill(server.pid, signal.SIGKILL)
        await server.ended()
        assert alive(engine.pid)
        assert alive(engine.leash_pid)
    assert not alive(engine.pid)
    assert not alive(engine.leash_pid)


async def test_it_is_kept_and_meanwhile_leashes_are_programs(folder: Path) -> None:
    servers, plan = ForkServers(), fake_plan(folder)
    assert MARKER in plan.env
    async with TestSystem() as system:
        keeper = LeashServerKeeper(servers, folder / "leashes.log", Backoff(first=0.01, cap=0.01))
        await system.start(ChildSpec("keeper", lambda: keeper, restart=TEMPORARY))
        await until(lambda: servers.leashes)
        first = servers.leashes
        assert first is not None
        assert await servers.find(plan) is first
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: servers.leashes is not first)
        async with EngineProcess(plan, forker=first) as engine:
            assert leash_of(leash_of(engine.pid)) == os.getpid()
        await until(lambda: servers.leashes not in (None, first))
        assert servers.leashes is not None
        second = servers.leashes.pid
        assert alive(second)
    assert servers.leashes is None
    assert not alive(second)
    assert servers.reports() == ()


async def test_where_it_cannot_be_started_it_is_tried_again(folder: Path) -> None:
    servers = ForkServers()
    async with TestSystem() as system:
        keeper = LeashServerKeeper(servers, folder / "not there" / "log", Backoff(first=0.01, cap=0.01))
        await system.start(ChildSpec("keeper", lambda: keeper, restart=TEMPORARY))
        await anyio.sleep(0.05)
        assert await servers.find(fake_plan(folder)) is None
        await anyio.to_thread.run_sync((folder / "not there").mkdir)
        await until(lambda: servers.leashes)
