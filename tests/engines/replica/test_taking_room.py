"""What a replica has of its machine: told as it changes, given back in part by a sleeper, and measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest
from attrs import evolve
from tests.engines.kit import environment_of, report_of, start

from sllm_actors.actors import ActorRef
from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.host import EngineHost, open_host
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.machine import memory_gauge
from sllm_actors.engines.messages import (
    Drained,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SleepReplica,
    WakeReplica,
)
from sllm_actors.engines.replica import engine_life, engine_watch, tier_changes
from sllm_actors.engines.replica.events import Admitted, Ended, Gauged, NoRoom, Slept, WakeAsked, Woken
from sllm_actors.engines.replica.lifecycle import Replica, step
from sllm_actors.testing import TestProbe, TestSystem

from .lives import READY, STARTING, after
from .test_sleep import Sleeper, put_to_sleep, settled

pytestmark = pytest.mark.anyio

GIB = 2**30
ASLEEP = evolve(READY, state=ReplicaState.ASLEEP, level=1)


def test_what_it_has_of_gpus_is_told_and_forgotten_when_its_engine_ends() -> None:
    admitted, effects = step(STARTING, Admitted(1, ("GPU-0",), 5 * GIB), 0.0)
    assert (admitted.devices, admitted.gpu_reserved, len(effects)) == (("GPU-0",), 5 * GIB, 1)
    assert after(admitted, Ended(1, "it died")).devices == ()
    dozing = after(ASLEEP, Slept(1, GIB))
    assert dozing.gpu_reserved == GIB
    assert after(dozing, WakeAsked(), Woken(1, 5 * GIB)).gpu_reserved == 5 * GIB
    assert after(READY, Admitted(1, ("GPU-1",))) == READY


def test_the_most_that_was_measured_is_told_when_it_has_grown_by_more_than_a_twentieth() -> None:
    told: list[tuple[int, int]] = []
    replica: Replica = STARTING
    for memory, gpu_memory in ((100, 0), (105, 0), (90, 0), (106, 0), (50, 7), (50, 8)):
        replica, effects = step(replica, Gauged(1, memory, gpu_memory), 0.0)
        told += [(replica.memory, replica.gpu_memory)] if effects else []
    assert told == [(100, 0), (106, 0), (106, 7), (106, 8)]


def test_a_sleeper_that_finds_no_room_sleeps_on_and_declines() -> None:
    waking = after(ASLEEP, WakeAsked())
    refused = after(waking, NoRoom(1, 1, "others have it"))
    assert (refused.state, refused.level, refused.declined) == (ReplicaState.ASLEEP, 1, 1)
    assert refused.reason == "others have it"
    assert after(refused, WakeAsked(), Woken(1)).state is ReplicaState.READY
    assert after(READY, NoRoom(1, 1, "others have it")) == READY


# ---- on a machine


@pytest.fixture
def shared_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> EngineHost:
    """A host with a GPU of 8 GiB, of which its driver says that an engine has 1 GiB."""
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Sleeper())
    monkeypatch.setattr(engine_watch, "MEASURE_INTERVAL", 0.05)
    monkeypatch.setattr(tier_changes, "ROOM_PATIENCE", 0.2)
    monkeypatch.setattr(memory_gauge, "most_on_one", lambda *_, **__: GIB)
    sizes = {"GPU-0": 8 * GIB}
    return open_host(folder, gpus=["GPU-0"], gpu_sizes=sizes, gpu_locks=folder / "gpus")


async def ready(
    system: TestSystem, host: EngineHost, number: int, gib: int
) -> tuple[ActorRef, TestProbe, ReplicaReport]:
    key = ReplicaKey("m:fake", 1, number)
    order = ReplicaOrder(key, "m", "fake", "", num_gpus=1, gpu_memory=gib * GIB)
    replica, probe = await start(system, order, host, name=f"r{number}")
    return replica, probe, await report_of(probe, ReplicaState.READY)


@pytest.mark.slow
async def test_two_engines_share_a_gpu_and_what_they_have_is_measured(shared_host: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe, first = await ready(system, shared_host, 1, 3)
        _, _, second = await ready(system, shared_host, 2, 5)
        assert (first.devices, first.gpu_reserved) == (("GPU-0",), 3 * GIB)
        assert (second.devices, second.gpu_reserved) == (("GPU-0",), 5 * GIB)
        assert environment_of(second.pid)["SLLM_GPU_MEMORY"] == str(5 * GIB)
        measured = await report_of(probe, ReplicaState.READY, lambda report: report.memory > 0)
        assert 2**20 < measured.memory < GIB
        assert measured.gpu_memory == GIB


@pytest.mark.slow
async def test_a_sleeper_gives_its_gpu_to_another_and_is_not_woken_until_that_is_gone(
    shared_host: EngineHost,
) -> None:
    async with TestSystem() as system:
        replica, probe, _ = await ready(system, shared_host, 1, 0)
        await put_to_sleep(replica, probe, 1)
        asleep = await report_of(probe, ReplicaState.ASLEEP, settled)
        assert asleep.gpu_reserved == 1127 * 2**20  # and a tenth, in whole MiB
        other, other_probe, second = await ready(system, shared_host, 2, 0)
        assert second.gpu_reserved == 8 * GIB - asleep.gpu_reserved
        replica.tell(WakeReplica())
        refused = await report_of(probe, ReplicaState.ASLEEP, lambda report: report.declined > 0)
        assert refused.level == 1
        assert refused.reason.endswith("(no_room)")
        other.tell(SleepReplica(1))
        drained = await report_of(other_probe, ReplicaState.ASLEEP)
        other.tell(Drained(drained.id, drained.withdrawal))
        await report_of(other_probe, ReplicaState.ASLEEP, settled)
        replica.tell(WakeReplica())
        woken = await report_of(probe, ReplicaState.READY)
        assert woken.gpu_reserved == 8 * GIB - asleep.gpu_reserved


def arguments(report: ReplicaReport) -> list[str]:
    return psutil.Process(report.pid).cmdline()


class OfWhatIsFree(Sleeper):
    """A fake engine with an option of a number, as SGLang has one for its part of the memory that is free."""

    def launch(self, *given: object) -> Launch:
        return evolve(super().launch(*given), share_option="--rate", share_of_free=True)


@pytest.mark.parametrize(("free", "told"), [(6, "0.4500"), (2, "0.9000"), (0, "0.3375")])
async def test_an_engine_that_counts_by_what_is_free_is_told_its_part_of_that(
    shared_host: EngineHost, monkeypatch: pytest.MonkeyPatch, free: int, told: str
) -> None:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: OfWhatIsFree())
    monkeypatch.setattr(engine_life, "least_free", lambda _: free * GIB)
    async with TestSystem() as system:
        _, _, shares = await ready(system, shared_host, 1, 3)
        assert f"--rate={told}" in arguments(shares)


async def test_an_engine_that_has_its_gpu_whole_is_told_no_part(
    shared_host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_life, "backend_named", lambda _: OfWhatIsFree())
    async with TestSystem() as system:
        _, _, alone = await ready(system, shared_host, 1, 0)
        assert not [each for each in arguments(alone) if each.startswith("--rate")]


class PlayedDriver:
    """As much of NVIDIA's library as is asked, of GPUs with so many GiB free."""

    def __init__(self, patch: pytest.MonkeyPatch, *, broken: bool = False, **free: int) -> None:
        self._free = free
        for name, played in {
            "nvmlInit": self._fail if broken else lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetHandleByUUID": lambda gpu: gpu,
            "nvmlDeviceGetMemoryInfo": self._memory,
        }.items():
            patch.setattr(pynvml, name, played)

    def _fail(self) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    def _memory(self, gpu: str) -> SimpleNamespace:
        if gpu not in self._free:
            self._fail()
        return SimpleNamespace(free=self._free[gpu] * GIB)


def test_what_is_free_is_that_of_the_gpu_with_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    PlayedDriver(monkeypatch, a=5, b=3)
    assert memory_gauge.least_free(["a", "b"]) == 3 * GIB
    assert memory_gauge.least_free(["a", "gone"]) == 0
    PlayedDriver(monkeypatch, broken=True)
    assert memory_gauge.least_free(["a"]) == 0
