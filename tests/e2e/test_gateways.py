"""Two gateway processes on one port: one that hangs is replaced, and a stop lets streams end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from .cluster import Cluster, eventually

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

PATIENCE = 4.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("two")
    cluster = Cluster(folder, "--gateways", "2", "--gateway-patience", str(PATIENCE))
    try:
        for number in range(2):
            cluster.sllm.wait_for(f"gateway-{number}: serves")
        yield cluster
    finally:
        cluster.close()


def health(cluster: Cluster) -> int:
    """Ask by a new connection, as one of many clients."""
    return httpx2.get(f"{cluster.url}/health", timeout=60, trust_env=False).status_code


def state_of(cluster: Cluster, node: str) -> str:
    """Return what ``sllm status --nodes`` shows."""
    known = json.loads((cluster.data_dir / node / "node.json").read_text())
    return next(str(each["state"]) for each in cluster.nodes() if each["id"] in known.values())


def test_a_frozen_gateway_is_shown_and_replaced(two: Cluster) -> None:
    frozen = psutil.Process(two.sllm.node("gateway-1"))
    frozen.suspend()
    eventually(lambda: state_of(two, "gateway-1") != "up", within=30, what="its silence is shown")
    two.sllm.wait_for(r"gateway-1: has not answered for \d+ s: killed, starting it again")
    eventually(lambda: not frozen.is_running(), within=10, what="it is gone")
    eventually(lambda: state_of(two, "gateway-1") == "up", within=30, what="its successor has joined")
    assert two.sllm.node("gateway-1") != frozen.pid
    assert health(two) == 200
    assert "SIGKILL" not in two.sllm.output  # one line says it


def test_a_launcher_that_was_paused_kills_no_gateway_for_it(two: Cluster) -> None:
    before = dict(two.sllm.nodes())
    launcher = psutil.Process(two.sllm.process.pid)
    launcher.suspend()
    time.sleep(2 * PATIENCE)
    launcher.resume()
    time.sleep(PATIENCE)
    assert dict(two.sllm.nodes()) == before
