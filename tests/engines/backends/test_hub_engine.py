"""Engines of models from a hub: what is asked before, what is seen meanwhile, and the answer at the end."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from tests.engines.kit import report_of, start
from tests.models.hub_server import HubServer, run_hub

from sllm_actors.engines.backends.registry import inspect_source
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    InspectSource,
    ReplicaOrder,
    ReplicaState,
    SourceInspected,
    StopReplica,
)
from sllm_actors.models.demo_model import demo_file
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, object] = {"max_model_len": 256, "n_parallel": 1, "n_threads": 1}


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    """Run on the loop of production only: a real engine is dear."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with run_hub() as running:
        running.put("org/tiny", {"tiny.gguf": demo_file("smollm2-135m").read_bytes()})
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.mark.slow
async def test_a_real_engine_serves_a_model_of_the_hub(server: HubServer, host: EngineHost) -> None:
    order = ReplicaOrder(ReplicaKey("tiny:llamacpp", 1, 1), "tiny", "llamacpp", "hf:org/tiny", SETTINGS)
    server.step_delay = 0.001
    async with TestSystem() as system:
        replica, probe = await start(system, order, host)
        brings = await report_of(probe, ReplicaState.STARTING, lambda report: report.downloading)
        assert brings.progress.startswith("downloading org/tiny: ")
        server.step_delay = 0.0
        ready = await report_of(probe, ReplicaState.READY)
        assert not ready.downloading
        question = InspectSource("llamacpp", "hf:org/tiny", SETTINGS)
        said = await anyio.to_thread.run_sync(inspect_source, question, host)
        assert said == SourceInspected(size=demo_file("smollm2-135m").stat().st_size)
        replica.tell(StopReplica("test", drain=False))
        await report_of(probe, ReplicaState.STOPPED)


@pytest.mark.slow
async def test_a_replica_whose_model_cannot_be_had_is_failed_with_the_reason(
    server: HubServer, host: EngineHost
) -> None:
    order = ReplicaOrder(ReplicaKey("tiny:llamacpp", 1, 1), "tiny", "llamacpp", "hf:org/tiny@v9", SETTINGS)
    async with TestSystem() as system:
        replica, probe = await start(system, order, host)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason == "org/tiny has no revision v9: name a branch, tag or commit"
        replica.tell(StopReplica("test", drain=False))
        await report_of(probe, ReplicaState.STOPPED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("hf:org/tiny", ""),
        ("hf:org/tiny@main:tiny.gguf", ""),
        ("hf:org tiny", "hf:org tiny does not name a model on a hub: write hf:ORG/NAME[@REVISION][:FILE]"),
    ],
)
async def test_a_question_about_a_source_downloads_nothing(
    server: HubServer, host: EngineHost, source: str, problem: str
) -> None:
    question = InspectSource("llamacpp", source, SETTINGS)
    assert await anyio.to_thread.run_sync(inspect_source, question, host) == SourceInspected(problem)
    assert server.asked == []


async def test_a_bad_setting_is_found_before_the_model_is_here(server: HubServer, host: EngineHost) -> None:
    question = InspectSource("llamacpp", "hf:org/tiny", {"n_ctx": 0})
    said = await anyio.to_thread.run_sync(inspect_source, question, host)
    assert "n_ctx" in said.problem
    assert server.asked == []
