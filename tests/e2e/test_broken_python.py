"""An engine's Python that does not work, given to a worker that has other engines to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cluster import Cluster, eventually
from .commands import sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(120)]


def test_a_python_that_is_mistyped_is_told_and_costs_the_worker_nothing_else(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", "--demo", "--engine-python", "vllm=/no/such/python")
    try:
        worker = cluster.sllm.node("worker")
        cluster.wait_ready()

        def warm() -> list[dict[str, object]]:
            return [server for node in cluster.nodes() for server in node["fork_servers"]]

        (report,) = eventually(warm, what="the worker tells of it")
        sentence = "the Python for vLLM, /no/such/python, cannot be started: No such file or directory"
        assert (report["backend"], report["state"], report["reason"]) == ("vllm", "failed", sentence)
        assert f"vllm has no fork server: {sentence}" in sllm(cluster, "status", "--nodes").stdout
        refused = sllm(cluster, "deploy", "--model", "m", "--source", str(tmp_path), "--num-gpus", "0")
        assert refused.returncode != 0
        assert sentence in refused.stderr
        assert cluster.ask()
        assert cluster.sllm.node("worker") == worker
    finally:
        cluster.close()
