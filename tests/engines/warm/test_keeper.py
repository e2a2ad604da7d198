"""The keeper of a fork server: whatever becomes of its server, it goes on, and what was taught is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import define, evolve, field
from tests.engines.kit import alive, leash_of, until
from tests.engines.tiny import facts_of, plan_in, spec_for

from sllm_actors.actors import TEMPORARY, Backoff, ChildSpec
from sllm_actors.engines.messages import ForkServerReport, ForkServerState
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.plan import LaunchPlan
from sllm_actors.engines.warm.fork_client import ForkServer, ForkServerSpec
from sllm_actors.engines.warm.fork_servers import ForkServers
from sllm_actors.engines.warm.keeper import ForkServerKeeper, KeeperOptions
from sllm_actors.engines.warm.known_imports import KnownImports
from sllm_actors.engines.warm.late_imports import Learned, read_learned, write_learned
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio


class RecordedForkServers(ForkServers):
    """Remembers what was said, also what held for a moment only."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[ForkServerState, str]] = []

    def say(self, backend: str, state: ForkServerState, reason: str = "") -> None:
        self.said.append((state, reason))
        super().say(backend, state, reason)


@define
class Keeping:
    """A keeper at work, and how it looks from outside."""

    folder: Path
    spec: ForkServerSpec
    servers: RecordedForkServers = field(factory=RecordedForkServers)
    room: bool = True
    told: list[bool] = field(factory=list)

    def has_room(self, warm: bool) -> bool:
        self.told.append(warm)
        return self.room

    @property
    def report(self) -> ForkServerReport:
        return self.servers._entries["tiny"].report

    async def learned(self) -> Learned:
        """Read the record."""
        return await anyio.to_thread.run_sync(read_learned, self.folder / "tiny.json", self.spec.engine)

    async def server(self) -> ForkServer:
        """Wait until there is one."""
        await until(lambda: self.report.state is ForkServerState.READY)
        server = self.servers._entries["tiny"].server
        assert server is not None
        return server

    async def successor(self, gone: ForkServer) -> ForkServer:
        """Wait until there is one in the place of another."""
        await until(lambda: self.servers._entries["tiny"].server not in (gone, None))
        return await self.server()

    async def until_state(self, state: ForkServerState) -> None:
        await until(lambda: self.report.state is state)


async def teach(plan: LaunchPlan, line: str) -> None:
    """Add to what an engine has imported late."""

    def write() -> None:
        with (plan.paths.tmpdir / "late-imports").open("a") as file:
            file.write(line + "\n")

    await anyio.to_thread.run_sync(write)


@asynccontextmanager
async def keeping(folder: Path, spec: ForkServerSpec) -> AsyncIterator[Keeping]:
    found = Keeping(folder, spec)
    options = KeeperOptions(folder, found.has_room, look=0.02)
    backoff = Backoff(first=0.05, cap=0.05)
    async with TestSystem() as system:

        def keeper() -> ForkServerKeeper:
            return ForkServerKeeper(spec, found.servers, options, backoff)

        # Not to be started again: it must not fail.
        await system.start(ChildSpec("warm", keeper, restart=TEMPORARY))
        yield found
        assert system.statistics().actors == 1


async def test_a_server_that_is_killed_is_started_again(folder: Path, modules: Path) -> None:
    async with keeping(folder, spec_for(plan_in(folder, modules))) as kept:
        first = await kept.server()
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: (ForkServerState.FAILED, "it ended with -9") in kept.servers.said)
        second = await kept.server()
        assert second.pid != first.pid
    assert not alive(second.pid)


async def test_a_server_is_kept_while_there_is_room(folder: Path, modules: Path) -> None:
    async with keeping(folder, spec_for(plan_in(folder, modules))) as kept:
        server = await kept.server()
        assert kept.told[0] is False
        kept.room = False
        await kept.until_state(ForkServerState.RESTING)
        assert kept.report.reason == "there is no room for another engine"
        assert not alive(server.pid)
        assert True in kept.told, "it never said that the server was there"
        kept.room = True
        assert await kept.server() is not server


async def test_a_server_that_cannot_import_says_why_and_is_tried_again(folder: Path, modules: Path) -> None:
    spec = spec_for(plan_in(folder, modules), "comes_later")
    async with keeping(folder, spec) as kept:
        await kept.until_state(ForkServerState.FAILED)
        assert "comes_later cannot be imported" in kept.report.reason
        (modules / "comes_later.py").touch()
        await kept.server()


@pytest.mark.slow
async def test_what_an_engine_teaches_its_server_learns_and_the_next_one_starts_with(
    folder: Path, modules: Path
) -> None:
    plan = plan_in(folder, modules)
    async with keeping(folder, spec_for(plan)) as kept:
        first = await kept.server()
        before = first.modules
        async with EngineProcess(plan, forker=await kept.servers.find(plan)):
            await facts_of(folder)
            await until(lambda: kept.report.modules > before)
        assert await kept.server() is first
        assert "colorsys" in (await kept.learned()).modules
    (folder / "facts.json").unlink()
    plan = plan_in(folder, modules, name="b")
    async with keeping(folder, spec_for(plan)) as kept:
        await kept.server()
        async with EngineProcess(plan, forker=await kept.servers.find(plan)):
            await facts_of(folder)
            assert "colorsys" not in (plan.paths.tmpdir / "late-imports").read_text().split()


async def test_the_first_server_has_what_is_known_of_the_version_and_takes_down_how_its_import_went(
    folder: Path, modules: Path
) -> None:
    plan = plan_in(folder, modules)
    spec = evolve(spec_for(plan), known=KnownImports(("no_such_module", "colorsys"), count=9000))
    async with keeping(folder, spec) as kept:
        server = await kept.server()
        when_ready = server.modules  # it may learn from the engine, and have more of them later
        async with EngineProcess(plan, forker=await kept.servers.find(plan)):
            await facts_of(folder)
            assert "colorsys" not in (plan.paths.tmpdir / "late-imports").read_text().split()
        record = await kept.learned()
        assert record.modules[:2] == ("no_such_module", "colorsys")
        assert record.count == when_ready
        assert record.seconds > 0


async def test_what_is_known_but_makes_a_server_unfit_is_left_out(folder: Path, modules: Path) -> None:
    known = KnownImports(("colorsys", "starts_a_thread"))
    async with keeping(folder, evolve(spec_for(plan_in(folder, modules)), known=known)) as kept:
        await kept.server()
        learned = await kept.learned()
        assert "threads run in it" in learned.unfit
        assert learned.modules == ()


@pytest.mark.slow
async def test_what_an_engine_teaches_is_kept_although_its_server_had_to_go(
    folder: Path, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sllm_actors.engines.warm.fork_servers.FORK_TIMEOUT", 0.5)
    plan = plan_in(folder, modules)
    async with keeping(folder, spec_for(plan)) as kept:
        server = await kept.server()
        kept.room = False  # the engine has the worker's last GPU
        async with EngineProcess(plan, forker=await kept.servers.find(plan)) as engine:
            assert leash_of(leash_of(engine.pid)) == server.pid
            await facts_of(folder)
            await kept.until_state(ForkServerState.RESTING)
            await teach(plan, "wave")
            record = folder / "tiny.json"
            await until(lambda: record.exists() and "wave" in record.read_text())


async def test_an_engine_that_waits_for_a_server_gets_it_although_there_is_no_more_room(
    folder: Path, modules: Path
) -> None:
    plan = plan_in(folder, modules)
    async with keeping(folder, spec_for(plan)) as kept:
        await until(lambda: kept.told)
        kept.room = False
        server = await kept.servers.find(plan)
        async with EngineProcess(plan, forker=server) as engine:
            assert server is not None
            assert leash_of(leash_of(engine.pid)) == server.pid


async def test_a_library_that_has_to_be_preloaded_makes_it_begin_anew(folder: Path, modules: Path) -> None:
    plan = plan_in(folder, modules)
    async with keeping(folder, spec_for(plan)) as kept:
        first = await kept.server()
        async with EngineProcess(plan, forker=await kept.servers.find(plan)) as engine:
            await facts_of(folder)
            await teach(plan, "LD_PRELOAD=/no/such/library.so")
            await kept.successor(first)
            assert alive(engine.pid)
    assert (await kept.learned()).preload == "/no/such/library.so"


async def test_a_lesson_that_makes_it_unfit_is_not_given_again(folder: Path, modules: Path) -> None:
    plan = plan_in(folder, modules)
    async with keeping(folder, spec_for(plan)) as kept:
        first = await kept.server()
        async with EngineProcess(plan, forker=await kept.servers.find(plan)):
            await facts_of(folder)
            await teach(plan, "starts_a_thread")
            await kept.successor(first)
        learned = await kept.learned()
        assert "threads run in it" in learned.unfit
        assert learned.modules == ()


async def test_a_record_that_makes_it_unfit_is_thrown_away(folder: Path, modules: Path) -> None:
    record = Learned(modules=("starts_a_thread",))
    await anyio.to_thread.run_sync(write_learned, folder / "tiny.json", record)
    async with keeping(folder, spec_for(plan_in(folder, modules))) as kept:
        await kept.server()
        assert "threads run in it" in (await kept.learned()).unfit
