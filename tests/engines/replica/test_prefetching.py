"""An engine that starts finds its weights in memory, and does not wait for them."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from attrs import evolve
from tests.engines.kit import FakeBackend, report_of, start, until
from tests.models.page_cache import forget, in_memory, write

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.engines.replica import engine_life
from sllm_actors.models import prefetch as module
from sllm_actors.models.prefetch import STEP
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

KEY = ReplicaKey("m:fake", 1, 1)


class Importing(FakeBackend):
    """Starts a fake engine that has weights, which it does not read."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        return evolve(super().launch(order, host, paths), weights=self.weights)


async def test_weights_are_in_memory_before_a_starting_engine_asks_for_them(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "model.safetensors", 3 * STEP)
    forget(file)
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Importing(tmp_path))
    async with TestSystem() as system:
        _, probe = await start(system, ReplicaOrder(KEY, "m", "fake", "--start 60"), host)
        await report_of(probe, ReplicaState.STARTING, lambda report: report.pid > 0)
        await until(lambda: in_memory(file) == 3 * STEP, timeout=30)


@pytest.mark.slow
async def test_an_engine_is_ready_although_its_weights_are_still_being_read(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "model.safetensors", 20 * STEP)
    forget(file)
    monkeypatch.setattr(module.prefetch, "__kwdefaults__", {"rate": STEP / 2.0})
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Importing(tmp_path))
    async with TestSystem() as system:
        _, probe = await start(system, ReplicaOrder(KEY, "m", "fake", "--start 4"), host)
        await until(lambda: in_memory(file) >= STEP)
        await report_of(probe, ReplicaState.READY)
        await anyio.sleep(2.1)  # the step that was under way
        read = in_memory(file)
        assert read < 20 * STEP
        await anyio.sleep(2.1)
        assert in_memory(file) <= read  # the kernel may drop pages
