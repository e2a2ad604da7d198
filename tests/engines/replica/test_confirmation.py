"""A worker finds out whether an engine serves, over real processes that die in the ways that engines do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from attrs import evolve
from tests.engines.kit import FakeBackend, alive, altered, report_of, start

from sllm_actors.actors import ActorRef
from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import (
    ConfirmEngine,
    EngineConfirmed,
    ReplicaOrder,
    ReplicaState,
    StopReplica,
)
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.engines.replica import engine_life
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

KEY = ReplicaKey("m:fake", 1, 1)
ORDER = ReplicaOrder(KEY, "m", "fake", "")


class LingeringBackend(FakeBackend):
    """Its engine says with 503 that its core has died, as vLLM does."""

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        return evolve(super().launch(order, host, paths), core_died=frozenset({503}))


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    backends = {"fake": FakeBackend(), "lingering": LingeringBackend()}
    monkeypatch.setattr(engine_life, "backend_named", backends.__getitem__)


@pytest.fixture
def host(host: EngineHost) -> EngineHost:
    """A worker whose own checks of an engine end none: what is asked is told from what is seen by itself."""
    return altered(host, health=evolve(host.policy.health, misses=10_000), stop_budget=0.1)


async def confirm(replica: ActorRef, life: ReplicaId) -> EngineConfirmed:
    answer: EngineConfirmed = await replica.ask(ConfirmEngine(life), timeout=60)
    return answer


async def test_an_engine_that_answers_its_health_check_serves(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, ORDER, host)
        ready = await report_of(probe, ReplicaState.READY)

        assert await confirm(replica, ready.id) == EngineConfirmed(serving=True)


async def test_a_replica_that_drains_still_serves(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, ORDER, host)
        ready = await report_of(probe, ReplicaState.READY)
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.DRAINING)

        assert (await confirm(replica, ready.id)).serving


async def test_an_engine_that_was_killed_a_moment_ago_has_died(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, ORDER, host)
        ready = await report_of(probe, ReplicaState.READY)
        os.kill(ready.pid, signal.SIGKILL)

        assert await confirm(replica, ready.id) == EngineConfirmed(
            died=True, reason="the engine was killed by SIGKILL"
        )


@pytest.mark.slow
async def test_a_life_before_the_present_one_has_died(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, ORDER, host)
        first = await report_of(probe, ReplicaState.READY)
        os.kill(first.pid, signal.SIGKILL)
        await report_of(probe, ReplicaState.STARTING)
        second = await report_of(probe, ReplicaState.READY)

        assert (await confirm(replica, first.id)).died
        assert (await confirm(replica, second.id)).serving


async def test_an_engine_whose_core_is_dead_has_died_although_its_server_lingers(
    host: EngineHost, folder: Path
) -> None:
    dead = folder / "dead"
    order = evolve(ORDER, backend="lingering", source=f"--dead-file {dead}")
    async with TestSystem() as system:
        replica, probe = await start(system, order, host)
        ready = await report_of(probe, ReplicaState.READY)
        dead.touch()

        assert await confirm(replica, ready.id) == EngineConfirmed(
            died=True, reason="its core has died: its health check answers with status 503"
        )
        assert alive(ready.pid)


@pytest.mark.slow
async def test_an_error_of_a_health_check_is_no_death_where_it_may_pass(
    host: EngineHost, folder: Path
) -> None:
    dead = folder / "dead"
    async with TestSystem() as system:
        replica, probe = await start(system, evolve(ORDER, source=f"--dead-file {dead}"), host)
        ready = await report_of(probe, ReplicaState.READY)
        dead.touch()

        answer = await confirm(replica, ready.id)
        assert (answer.serving, answer.died) == (False, False)
        dead.unlink()
        assert (await confirm(replica, ready.id)).serving


@pytest.mark.slow
async def test_an_engine_that_hangs_does_not_serve_and_has_not_died(host: EngineHost, folder: Path) -> None:
    hang = folder / "hang"
    async with TestSystem() as system:
        replica, probe = await start(system, evolve(ORDER, source=f"--hang-file {hang}"), host)
        ready = await report_of(probe, ReplicaState.READY)
        hang.touch()

        answer = await confirm(replica, ready.id)
        assert (answer.serving, answer.died) == (False, False)
        hang.unlink()


async def test_an_engine_that_starts_does_not_serve(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, evolve(ORDER, source="--start 60"), host)
        starting = await report_of(probe, ReplicaState.STARTING, lambda report: report.pid > 0)

        answer = await confirm(replica, starting.id)
        assert (answer.serving, answer.died) == (False, False)
