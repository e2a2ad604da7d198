"""Real engines with more requests than they run at a time say so, and their replicas report it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.engines.kit import altered, post, report_of, start

from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState
from sllm_actors.engines.replica import engine_life, recent_pressure
from sllm_actors.testing import TestSystem
from sllm_actors.testing.fake_engine import fake_engine_argv

from .test_progress import Working

pytestmark = pytest.mark.anyio

LLAMA = ReplicaOrder(
    ReplicaKey("smollm2:llamacpp", 1, 1),
    "smollm2",
    "llamacpp",
    "demo:smollm2-135m",
    {"max_model_len": 512, "n_parallel": 1, "n_threads": 1},
)


@pytest.fixture
def quick(host: EngineHost, monkeypatch: pytest.MonkeyPatch) -> EngineHost:
    monkeypatch.setattr(recent_pressure, "SPAN", 0.5)
    return altered(host, health=HealthPolicy(interval=0.5, work_interval=0.05))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vllm", "command"])
async def test_an_engine_that_counts_as_vllm_and_whose_slots_are_taken(
    quick: EngineHost, folder: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    stall = folder / "stall"
    options = ("--slots", "2", "--stall-file", str(stall))
    if backend == "vllm":
        monkeypatch.setattr(engine_life, "backend_named", lambda _: Working())
        order = ReplicaOrder(ReplicaKey("m:fake", 1, 1), "m", "fake", " ".join(options))
    else:
        settings = {"command": fake_engine_argv("--socket", "$SOCKET", *options)}
        order = ReplicaOrder(ReplicaKey("m:command", 1, 1), "m", "command", "", settings)
        quick = altered(quick, allow_command=True)
    async with TestSystem() as system:
        _, probe = await start(system, order, quick)
        ready = await report_of(probe, ReplicaState.READY)
        assert (ready.waiting, ready.kv_used) == (0, 0)
        stall.touch()
        with ExitStack() as asking:
            for _ in range(5):
                asking.enter_context(post(ready.address, {"prompt": "a"}))
            await report_of(probe, ReplicaState.READY, lambda each: (each.waiting, each.kv_used) == (3, 100))
            stall.unlink()
            while (await report_of(probe, ReplicaState.READY)).kv_used:
                pass


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_a_llama_cpp_that_defers_requests(quick: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, LLAMA, quick)
        ready = await report_of(probe, ReplicaState.READY)
        body = {"prompt": "Count:", "max_tokens": 20, "temperature": 0, "ignore_eos": True}
        with ExitStack() as asking:
            for _ in range(7):
                asking.enter_context(post(ready.address, body))
            await report_of(probe, ReplicaState.READY, lambda each: (each.waiting, each.kv_used) == (5, 0))
            while (await report_of(probe, ReplicaState.READY)).waiting:
                pass
