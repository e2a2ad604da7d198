"""What only reads: it starts and wakes nothing, and is no use of a model."""

from __future__ import annotations

import anyio
import pytest
from tests.gateway.kit import PlayedCluster, replica, served

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway.api.openapi import DOCUMENT
from sllm_actors.serving.messages import SleepInstance, WakeInstance

pytestmark = pytest.mark.anyio

READS = sorted(path for path, item in DOCUMENT["paths"].items() if "get" in item)


@pytest.mark.slow
async def test_no_path_that_is_read_counts_as_a_use_or_wakes_what_sleeps(cluster: PlayedCluster) -> None:
    worker = await cluster.nodes.probe("worker-1")
    await cluster.deploy(served(), served("other"), served("used"))
    await cluster.report(replica(state=ReplicaState.ASLEEP, withdrawal=1))
    http = cluster.http()

    async def read(path: str, method: str) -> None:
        with anyio.move_on_after(1.0):  # nobody answers for the head here
            await http.request(method, path)

    async def use() -> None:
        await http.post("/v1/embeddings", json={"model": "used"})

    assert {"/v1/models", "/models", "/health", "/status", "/deployments/{id}"} <= set(READS)
    async with anyio.create_task_group() as tasks:
        for path in [*READS, "/metrics"]:
            for name in ("smol:llamacpp", "smol", "other:llamacpp", "smol:llamacpp@1.1.1"):
                for method in ("GET", "HEAD", "OPTIONS"):
                    tasks.start_soon(read, path.replace("{id}", name), method)
        tasks.start_soon(read, "/v1/chat/completions", "OPTIONS")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        with anyio.fail_after(60):
            while not cluster.nodes.head.told:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert {put.deployment for each in cluster.nodes.head.told for put in each.put} == {"used:llamacpp"}
    worker.ref.tell("all that was read")
    while (message := await worker.next()) != "all that was read":
        assert not isinstance(message, WakeInstance | SleepInstance)
