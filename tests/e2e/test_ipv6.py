"""A whole cluster on IPv6: every address that is printed can be used as it stands."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .cluster import Cluster, Sllm, eventually
from .commands import sllm


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_everything_serves_on_the_loopback_of_ipv6_and_a_worker_joins_there(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "up", "--host", "::1", "--demo")
    try:
        assert cluster.url.startswith("http://[::1]:")
        head = cluster.sllm.wait_for(r"worker: joined the head at (\[::1\]:\d+)")[1]
        cluster.wait_ready()
        assert cluster.ask()
        assert sllm(cluster, "status").returncode == 0
        arguments = ("--port", "0", "--host", "::1", "--data-dir", str(tmp_path / "worker"))
        secret = ("--secret-file", str(tmp_path / "up" / "secret"))
        worker = Sllm("worker", "--head", head, *secret, *arguments, "--name", "second")
        try:
            worker.wait_for(r"worker: joined the head at ")
            second = eventually(
                lambda: next((node for node in cluster.nodes() if node["name"] == "second"), None),
                what="the worker is listed",
            )
            assert second["host"] == "::1"
        finally:
            worker.kill_all()
    finally:
        cluster.close()
