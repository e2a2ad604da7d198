"""What the fork servers of a worker look like to engines, and when there is room for one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import evolve
from tests.engines.kit import until
from tests.engines.tiny import plan_in, spec_for

from sllm_actors.engines.messages import ForkServerReport, ForkServerState
from sllm_actors.engines.warm import fork_servers as warm
from sllm_actors.engines.warm import waiting
from sllm_actors.engines.warm.fork_client import ForkServer, open_fork_server
from sllm_actors.engines.warm.fork_servers import GIB, ForkServers, MemoryBounds

pytestmark = pytest.mark.anyio


async def test_an_engine_waits_for_a_server_that_imports(folder: Path, modules: Path) -> None:
    servers, plan, found = ForkServers(), plan_in(folder, modules), list[ForkServer | None]()

    async def find() -> None:
        found.append(await servers.find(plan))

    servers.keep(spec_for(plan))
    async with (
        open_fork_server(spec_for(plan), folder / "log") as server,
        anyio.create_task_group() as group,
    ):
        group.start_soon(find)
        await until(lambda: servers.is_wanted("tiny"))
        servers.say("tiny", ForkServerState.STARTING)  # again, while somebody waits
        await anyio.sleep(0.01)
        assert not found
        servers.serve("tiny", server)
        await until(lambda: found)
        assert found == [server]
        (report,) = await anyio.to_thread.run_sync(servers.reports)
        assert (report.state, report.modules) == (ForkServerState.READY, server.modules)
        assert report.memory > 0


async def test_an_engine_does_not_wait_for_a_server_that_rests_or_that_is_not_for_it(
    folder: Path, modules: Path
) -> None:
    servers, plan = ForkServers(), plan_in(folder, modules)
    assert await servers.find(plan) is None
    servers.keep(spec_for(plan))
    assert await servers.find(evolve(plan, env={**plan.env, "OTHER": "1"})) is None
    servers.say("tiny", ForkServerState.RESTING, "no room")
    assert await servers.find(plan) is None
    assert servers.reports() == (ForkServerReport("tiny", ForkServerState.RESTING, reason="no room"),)


async def test_an_engine_does_not_wait_for_ever(
    folder: Path, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, plan = ForkServers(), plan_in(folder, modules)
    servers.keep(spec_for(plan))
    assert await servers.find(plan, longest=0) is None
    monkeypatch.setattr(warm, "LOOK", 0.01)
    monkeypatch.setattr(waiting, "STALLED", 0.05)
    servers.begin("tiny", count=600)
    servers.imported("tiny", 300)
    assert await servers.find(plan) is None, "it goes on waiting for one that has stalled"


async def test_a_server_that_begins_anew_is_waited_for_however_long_the_last_one_lived(
    folder: Path, modules: Path
) -> None:
    servers, plan, said = ForkServers(), plan_in(folder, modules), list[str]()
    servers.keep(spec_for(plan))
    servers._entries["tiny"].importing.began -= 3600
    servers._entries["tiny"].importing.heard -= 3600
    assert await servers.find(plan) is None
    servers.begin("tiny")
    async with anyio.create_task_group() as group:
        group.start_soon(partial(servers.find, plan, say=said.append))
        await until(lambda: said)
        group.cancel_scope.cancel()


@pytest.mark.slow
async def test_whoever_waits_is_told_how_far_the_import_is(folder: Path, modules: Path) -> None:
    servers, plan, said = ForkServers(), plan_in(folder, modules), list[str]()
    servers.keep(spec_for(plan))
    servers.begin("tiny", count=600, seconds=5.0)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(servers.find, plan, say=said.append))
        await until(lambda: said)
        servers.imported("tiny", 450)
        (report,) = await anyio.to_thread.run_sync(servers.reports)
        assert (report.state, report.modules) == (ForkServerState.STARTING, 450)
        await until(lambda: len(said) > 1)
        group.cancel_scope.cancel()
    assert said[:2] == [
        "waiting for the fork server, which imports tiny",
        "waiting for the fork server, which imports tiny (75% done)",
    ]


@pytest.mark.parametrize("state", [ForkServerState.FAILED, ForkServerState.RESTING])
async def test_engines_that_wait_start_at_once_as_programs_when_the_server_fails(
    folder: Path, modules: Path, monkeypatch: pytest.MonkeyPatch, state: ForkServerState
) -> None:
    monkeypatch.setattr(warm, "LOOK", 3600.0)
    servers, plan, found = ForkServers(), plan_in(folder, modules), list[ForkServer | None]()
    said: list[str] = []

    async def find() -> None:
        found.append(await servers.find(plan, say=said.append))

    servers.keep(spec_for(plan))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(find)
            group.start_soon(find)
            await until(lambda: servers.is_wanted("tiny"))
            servers.say("tiny", state, "it ended with -9")
    assert found == [None, None]
    assert said[-1] == "starting as a program"


async def test_a_server_that_was_found_is_wanted_for_as_long_as_a_fork_may_take(
    folder: Path, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, plan = ForkServers(), plan_in(folder, modules)
    servers.keep(spec_for(plan))
    async with open_fork_server(spec_for(plan), folder / "log") as server:
        servers.serve("tiny", server)
        assert not servers.is_wanted("tiny")
        await servers.find(plan)
        assert servers.is_wanted("tiny")
        assert servers.watched("tiny") == [plan.paths.tmpdir / "late-imports"]
        monkeypatch.setattr(warm, "WATCHED", 0.0)
        assert servers.watched("tiny") == []
        monkeypatch.setattr(warm, "FORK_TIMEOUT", 0.0)
        await servers.find(plan)
        assert not servers.is_wanted("tiny")


async def test_a_problem_is_told_before_there_is_a_server_and_forgotten_with_it() -> None:
    servers = ForkServers()
    servers.say("tiny", ForkServerState.FAILED, "no such Python")
    assert servers.reports() == (ForkServerReport("tiny", ForkServerState.FAILED, reason="no such Python"),)
    servers.forget("tiny")
    assert servers.reports() == ()


@pytest.mark.parametrize(
    ("free", "gpus", "gpus_free", "warm", "has"),
    [
        (3 * GIB, 0, 0, False, True),
        (3 * GIB - 1, 0, 0, False, False),
        (GIB, 0, 0, True, True),
        (GIB - 1, 0, 0, True, False),
        (9 * GIB, 2, 1, False, True),
        (9 * GIB, 2, 0, False, False),
        (9 * GIB, 2, 0, True, False),
    ],
)
def test_there_is_room_for_an_engine(free: int, gpus: int, gpus_free: int, warm: bool, has: bool) -> None:
    assert MemoryBounds().has(free, gpus, gpus_free, running=warm) is has


def test_a_server_is_not_ended_for_the_memory_that_it_has_taken_itself() -> None:
    for free in range(3 * GIB, 5 * GIB, GIB // 4):
        assert MemoryBounds().has(free, 0, 0, running=False)
        assert MemoryBounds().has(free - int(1.5 * GIB), 0, 0, running=True)
