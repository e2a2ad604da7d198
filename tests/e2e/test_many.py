"""Many deployments, so that what a head does for each of them shows."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.children import child
from tests.ports import free_port

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually
from .commands import sllm

pytestmark = pytest.mark.allow_blocking

MANY = 300


@pytest.fixture
def server() -> Iterator[str]:
    """A server that someone else runs; its address."""
    port = free_port()
    with child(fake_engine_argv("--port", str(port), python=sys.executable)):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path / "data", "--fork-servers", "none")
    try:
        yield running
    finally:
        running.close()


def pages(cluster: Cluster, limit: int) -> list[dict[str, Any]]:
    """Return the pages of the list of deployments that serve; none while the head is away."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit, "state": "ready"}
    while True:
        answer = cluster.http.get("/deployments", params=query)
        if answer.status_code != 200:
            return []
        found.append(answer.json())
        query["cursor"] = found[-1]["next"]
        if query["cursor"] is None:
            return found


def ready(cluster: Cluster) -> set[str]:
    """Return the instances that serve."""
    listed = [each for page in pages(cluster, 1000) for each in page["deployments"]]
    return {instance["id"] for each in listed for instance in each["instances"]}


def test_a_head_that_is_restarted_adopts_hundreds_of_replicas_and_status_pages(
    cluster: Cluster, server: str
) -> None:
    def deploy(number: int) -> int:
        document = {"model": f"m{number:03}", "backend": "external", "endpoint": server}
        return cluster.http.post("/deployments", json=document).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(deploy, range(MANY))) == {200}
    eventually(lambda: len(ready(cluster)) == MANY, what="all serve", every=0.3)
    before = ready(cluster)

    os.kill(cluster.sllm.node("head"), signal.SIGKILL)
    assert cluster.ask(model="m123")
    eventually(lambda: ready(cluster) == before, what="all are adopted as they were", every=0.3)

    found = pages(cluster, 100)
    assert max(len(page["deployments"]) for page in found) == 100
    assert [each["id"] for page in found for each in page["deployments"]] == [
        f"m{number:03}:external" for number in range(MANY)
    ]
    shown = sllm(cluster, "status")
    assert shown.returncode == 0
    assert sum(":external" in line for line in shown.stdout.splitlines()) == MANY
