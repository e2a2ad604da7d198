"""Where a process has no room for one more connection, that is said, and no engine is blamed for it."""

from __future__ import annotations

import anyio
import httpx2
import pytest
from tests.descriptors import no_descriptors, open_descriptors
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, served

from sllm_actors.transport import NodeFull

pytestmark = pytest.mark.anyio

HELLO = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}


async def chat(http: httpx2.AsyncClient) -> tuple[int, str]:
    answer = await http.post("/v1/chat/completions", json=HELLO)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


async def test_a_gateway_without_descriptors_says_so_and_goes_on_when_it_has_some(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        http = cluster.http()
        assert (await http.get("/health")).status_code == 200  # on the connection that is used from now on
        used = open_descriptors()
        assert await chat(http) == (200, "")
        while open_descriptors() > used:  # noqa: ASYNC110 - both ends of the engine's connection
            await anyio.sleep(0.01)
        with no_descriptors():
            assert await chat(http) == (503, "out_of_descriptors")
        assert await chat(http) == (200, "")


async def test_a_full_worker_is_no_broken_engine(cluster: PlayedCluster) -> None:
    await cluster.deploy(served(backend="vllm"))
    await cluster.report(replica("smol:vllm", address="unix:/elsewhere", machine="machine-2"))
    cluster.tunnel_refusal = NodeFull("no file descriptors are left here (ulimit -n: 1024)")
    answer = await cluster.http().post("/v1/chat/completions", json=HELLO)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "overloaded")
    assert error["message"] == (
        "no connection to smol:vllm is free (no file descriptors are left here (ulimit -n: 1024)): try again"
    )
