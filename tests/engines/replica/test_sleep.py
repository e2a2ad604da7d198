"""Engines fall asleep and wake up again, and those that do not are replaced."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
import pytest
from attrs import evolve
from tests.engines.kit import FakeBackend, alive, post, report_of, start

from sllm_actors.actors import ActorRef
from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.backends.sleep import VllmSleep
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    Drained,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SleepReplica,
    WakeReplica,
)
from sllm_actors.engines.replica import engine_life, tier_changes
from sllm_actors.testing import TestProbe, TestSystem

pytestmark = pytest.mark.anyio


class Sleeper(FakeBackend):
    """A fake engine that can be put to sleep."""

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        self._weights = weights

    def launch(self, *given: object) -> Launch:
        launch = super().launch(*given)  # type: ignore[arg-type]
        return evolve(launch, tiers=VllmSleep(), weights=self._weights)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Sleeper())


async def ready(
    system: TestSystem, host: EngineHost, *options: str
) -> tuple[ActorRef, TestProbe, ReplicaReport]:
    order = ReplicaOrder(ReplicaKey("m:fake", 1, 1), "m", "fake", " ".join(options))
    replica, probe = await start(system, order, host)
    return replica, probe, await report_of(probe, ReplicaState.READY)


async def answer(report: ReplicaReport, prompt: str = "hello there") -> str:
    def ask() -> str:
        with post(report.address, {"prompt": prompt}) as asking:
            assert asking.stdout is not None
            return asking.stdout.read()

    return await anyio.to_thread.run_sync(ask)


async def put_to_sleep(replica: ActorRef, probe: TestProbe, level: int) -> None:
    replica.tell(SleepReplica(level))
    asleep = await report_of(probe, ReplicaState.ASLEEP)
    replica.tell(Drained(asleep.id, asleep.withdrawal))


def settled(report: ReplicaReport) -> bool:
    return report.progress == ""


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1, 2])
async def test_an_engine_sleeps_and_is_as_before_when_it_wakes(host: EngineHost, level: int) -> None:
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host)
        await put_to_sleep(replica, probe, level)
        asleep = await report_of(probe, ReplicaState.ASLEEP, settled)
        assert asleep.pid == first.pid
        assert "EngineCore is asleep" in await answer(first)
        replica.tell(WakeReplica())
        woken = await report_of(probe, ReplicaState.READY)
        assert (woken.pid, woken.address) == (first.pid, first.address)
        assert "hello there" in await answer(first)


async def test_an_engine_that_is_needed_while_it_falls_asleep_wakes_up(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host)
        await put_to_sleep(replica, probe, 2)
        replica.tell(WakeReplica())
        await report_of(probe, ReplicaState.READY)
        assert "hello there" in await answer(first)


async def test_an_engine_is_left_alone_while_requests_may_be_in_flight(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host)
        assert first.can_sleep
        replica.tell(SleepReplica(1))
        asleep = await report_of(probe, ReplicaState.ASLEEP)
        replica.tell(Drained(asleep.id, asleep.withdrawal - 1))
        await probe.expect_nothing()
        assert "hello there" in await answer(first)
        replica.tell(WakeReplica())
        await report_of(probe, ReplicaState.READY)
        assert "hello there" in await answer(first)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--no-sleep", "it did not fall asleep: /sleep?level=1&mode=wait was answered with 404"),
        ("--refuse-wake", "it did not wake up: /wake_up was answered with 500"),
    ],
)
async def test_an_engine_that_does_not_do_it_is_replaced(host: EngineHost, option: str, reason: str) -> None:
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host, option)
        await put_to_sleep(replica, probe, 1)
        if option == "--refuse-wake":
            await report_of(probe, ReplicaState.ASLEEP, settled)
            replica.tell(WakeReplica())
        down = await report_of(probe, ReplicaState.STARTING)
        assert down.reason.startswith(reason)
        assert (await report_of(probe, ReplicaState.READY)).pid != first.pid


async def test_an_engine_that_had_its_turn_is_stopped_if_its_requests_do_not_end(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host)
        replica.tell(SleepReplica(1, if_idle=True, patience=0.05))
        stopped = await report_of(probe, ReplicaState.STOPPED)
        assert stopped.declined == 0
        assert not alive(first.pid)


@pytest.mark.slow
async def test_an_engine_that_had_its_turn_sleeps_once_its_requests_have_ended(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host)
        replica.tell(SleepReplica(1, if_idle=True, patience=600.0))
        ending = await report_of(probe, ReplicaState.ASLEEP)
        assert "hello there" in await answer(first), "what is under way is answered"
        replica.tell(Drained(ending.id, ending.withdrawal))
        asleep = await report_of(probe, ReplicaState.ASLEEP, settled)
        assert (asleep.pid, asleep.level) == (first.pid, 1)


async def test_an_engine_whose_weights_find_no_memory_stays_awake_at_level_1_and_sleeps_at_level_2(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(2**20))
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Sleeper(weights=tmp_path))
    monkeypatch.setattr(tier_changes, "memory_free", lambda: 2**19)
    async with TestSystem() as system:
        replica, probe, first = await ready(system, host)
        await put_to_sleep(replica, probe, 1)
        refused = await report_of(probe, ReplicaState.READY)
        assert (refused.pid, refused.declined, refused.memory_short) == (first.pid, 1, True)
        assert refused.reason == (
            "it was not put to sleep: at level 1 its weights take"
            " 1.0 MB of the machine's memory, and 524 kB are free"
        )
        assert "hello there" in await answer(first), "it serves on"
        await put_to_sleep(replica, probe, 2)
        await report_of(probe, ReplicaState.ASLEEP, settled)
        replica.tell(WakeReplica())
        assert not (await report_of(probe, ReplicaState.READY)).memory_short, "it may try again"
        monkeypatch.setattr(tier_changes, "memory_free", lambda: 2**20)
        await put_to_sleep(replica, probe, 1)
        assert (await report_of(probe, ReplicaState.ASLEEP, settled)).level == 1


def test_weights_that_cannot_be_read_count_for_nothing(tmp_path: Path) -> None:
    assert tier_changes.size_of(tmp_path / "gone") == 0
    (tmp_path / "model.gguf").write_bytes(bytes(5))
    assert tier_changes.size_of(tmp_path) == 5
    assert tier_changes.memory_free() > 0
