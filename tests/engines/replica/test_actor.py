"""A replica over a real child process: up, killed, up again, stopped, and nothing left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from attrs import evolve
from tests.engines.kit import FakeBackend, alive, altered, left, report_of, start

from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    Drained,
    OrderChanged,
    ReplicaOrder,
    ReplicaState,
    StopReplica,
)
from sllm_actors.engines.replica import actor, engine_life
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

KEY = ReplicaKey("m:fake", 1, 1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ReplicaOrder:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: FakeBackend())
    return ReplicaOrder(KEY, "m", "fake", "")


@pytest.mark.slow
async def test_an_engine_that_is_killed_is_started_again_at_once(
    host: EngineHost, fake: ReplicaOrder
) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, fake, host)
        first = await report_of(probe, ReplicaState.READY)
        os.kill(first.pid, signal.SIGKILL)
        down = await report_of(probe, ReplicaState.STARTING)
        assert (down.reason, down.address) == ("the engine was killed by SIGKILL", "")
        second = await report_of(probe, ReplicaState.READY)
        assert second.id.attempt == first.id.attempt + 1
        assert second.address != first.address
        assert second.reason == down.reason
    assert left(host) == []


async def test_what_does_not_change_is_reported_again(
    host: EngineHost, fake: ReplicaOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "REPEAT", 0.05)
    async with TestSystem() as system:
        _, probe = await start(system, fake, host)
        ready = await report_of(probe, ReplicaState.READY)
        assert await report_of(probe, ReplicaState.READY) == ready
        assert await report_of(probe, ReplicaState.READY) == ready


async def test_a_replica_that_drains_waits_for_its_requests(host: EngineHost, fake: ReplicaOrder) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, fake, host)
        ready = await report_of(probe, ReplicaState.READY)
        replica.tell(StopReplica("test"))
        draining = await report_of(probe, ReplicaState.DRAINING)
        replica.tell(Drained(KEY.attempt(99), draining.withdrawal))  # another life: not meant
        replica.tell(Drained(ready.id, draining.withdrawal - 1))  # an earlier withdrawal: not meant
        await probe.expect_nothing()
        assert alive(ready.pid)
        replica.tell(Drained(ready.id, draining.withdrawal))
        assert (await report_of(probe, ReplicaState.STOPPED)).id == ready.id
        assert not alive(ready.pid)
    assert left(host) == []


async def test_a_replica_drains_no_longer_than_it_may(host: EngineHost, fake: ReplicaOrder) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, evolve(fake, drain_timeout=0.1), host)
        await report_of(probe, ReplicaState.READY)
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.STOPPED)


@pytest.mark.slow
async def test_a_replica_whose_requests_do_not_end_serves_on_if_it_was_to_stop_if_idle(
    host: EngineHost, fake: ReplicaOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "IDLE_PATIENCE", 0.2)
    async with TestSystem() as system:
        replica, probe = await start(system, fake, host)
        ready = await report_of(probe, ReplicaState.READY)
        assert ready.started_in > 0
        replica.tell(StopReplica("it is idle", if_idle=True))
        assert (await report_of(probe, ReplicaState.DRAINING)).if_idle
        again = await report_of(probe, ReplicaState.READY)
        assert (again.id, again.declined, again.address) == (ready.id, 1, ready.address)
        assert alive(ready.pid)
        monkeypatch.setattr(actor, "IDLE_PATIENCE", 60.0)
        replica.tell(StopReplica("it is idle", if_idle=True))
        draining = await report_of(probe, ReplicaState.DRAINING)
        replica.tell(Drained(ready.id, draining.withdrawal))
        await report_of(probe, ReplicaState.STOPPED)
        assert not alive(ready.pid)
    assert left(host) == []


async def test_a_changed_order_holds_at_once_and_restarts_nothing(
    host: EngineHost, fake: ReplicaOrder
) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, fake, host)
        ready = await report_of(probe, ReplicaState.READY)
        replica.tell(OrderChanged(evolve(fake, drain_timeout=0.1, source="--exit 1")))
        await probe.expect_nothing()
        assert alive(ready.pid)
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.STOPPED)  # nobody has said that it is drained


@pytest.mark.slow
async def test_an_exit_with_code_0_that_nobody_asked_for_is_a_failure(
    host: EngineHost, fake: ReplicaOrder
) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, evolve(fake, source="--exit 0 --exit-after 0.5 --say bye"), host)
        await report_of(probe, ReplicaState.READY)
        down = await report_of(probe, ReplicaState.STARTING)
        assert down.reason == "the engine ended by itself with exit code 0"
        await report_of(probe, ReplicaState.READY)
        failed = await report_of(probe, ReplicaState.FAILED)  # a crash loop is not restarted at once for ever
        assert failed.exit_status == "exit code 0"
        assert failed.log_tail[-1] == "bye"


@pytest.mark.slow
async def test_an_engine_that_hangs_is_restarted(host: EngineHost, fake: ReplicaOrder, folder: Path) -> None:
    hang = folder / "hang"
    host = altered(host, stop_budget=0.1)
    async with TestSystem() as system:
        source = f"--hang-file {hang} --ignore-sigterm"
        _, probe = await start(system, evolve(fake, source=source), host)
        first = await report_of(probe, ReplicaState.READY)
        hang.write_text("")
        down = await report_of(probe, ReplicaState.STARTING)
        assert down.reason == "its health checks failed: no answer within 0.5 s"
        hang.unlink()
        second = await report_of(probe, ReplicaState.READY)
        assert second.pid != first.pid
        assert not alive(first.pid)


@pytest.mark.slow
async def test_a_slow_start_is_told_as_progress(host: EngineHost, fake: ReplicaOrder) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, evolve(fake, source="--start 0.3"), host)
        await report_of(probe, ReplicaState.STARTING, lambda report: report.progress == "loading the model")
        await report_of(probe, ReplicaState.READY)


@pytest.mark.slow
async def test_an_engine_that_says_that_it_is_ready_need_not_wait_for_the_next_question(
    host: EngineHost, fake: ReplicaOrder
) -> None:
    patient = altered(host, health=HealthPolicy(first=3600.0, longest=3600.0))
    order = evolve(fake, source="--start 0.3 --phases")
    async with TestSystem() as system:
        _, probe = await start(system, order, patient)
        assert (await report_of(probe, ReplicaState.READY)).address


async def test_a_start_that_takes_too_long_fails(host: EngineHost, fake: ReplicaOrder) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, evolve(fake, source="--start 60", startup_timeout=0.2), host)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason.startswith("it was not ready within 0.2 s: ")


async def test_a_mistake_of_ours_is_a_failure_like_any_other_and_no_busy_loop(
    host: EngineHost, fake: ReplicaOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(*_: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(FakeBackend, "launch", launch)
    async with TestSystem() as system:
        replica, probe = await start(system, fake, host)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason == "the worker made a mistake, see its log: ZeroDivisionError: a mistake"
        assert failed.retry_in is not None
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.STOPPED)
