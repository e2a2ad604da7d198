"""What a user notices when a part of the cluster is killed: a pause, and then an answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from .cluster import DEMO_ID, Cluster, eventually, group_is_gone

pytestmark = pytest.mark.allow_blocking


@pytest.fixture(autouse=True)
def _watched(cluster: Cluster) -> Iterator[None]:
    cluster.wait_ready()
    cluster.sllm.look()
    yield
    cluster.sllm.look()


def test_a_killed_engine_is_replaced_and_the_next_request_is_answered(cluster: Cluster) -> None:
    before = cluster.engine()
    os.kill(before, signal.SIGKILL)
    assert cluster.ask()
    assert cluster.engine() != before
    assert group_is_gone(before)


def test_a_killed_worker_takes_its_engine_along_and_comes_back(cluster: Cluster) -> None:
    engine, worker = cluster.engine(), cluster.sllm.node("worker")
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: group_is_gone(engine), what="the engine of the killed worker is gone")
    assert cluster.ask()
    assert cluster.sllm.node("worker") != worker


def test_a_killed_head_fails_no_request_and_adopts_what_runs(cluster: Cluster) -> None:
    engine, head = cluster.engine(), cluster.sllm.node("head")
    os.kill(head, signal.SIGKILL)
    assert cluster.ask()  # while it is away
    described = eventually(cluster.describe, what="the head is back")
    assert described["id"] == DEMO_ID
    assert cluster.engine() == engine
    # It waited for the worker's report and then had nothing to change.
    time.sleep(1.0)
    assert cluster.engine() == engine
    assert cluster.ask()


def test_a_killed_gateway_comes_back_on_the_same_port(cluster: Cluster) -> None:
    gateway, engine = cluster.sllm.node("gateway-0"), cluster.engine()
    os.kill(gateway, signal.SIGKILL)
    assert cluster.ask()  # queued in the listening socket that the launcher holds
    assert cluster.engine() == engine


def test_a_gateway_restarted_while_the_head_is_away_serves_from_its_snapshot(cluster: Cluster) -> None:
    cluster.ask()
    head = psutil.Process(cluster.sllm.node("head"))
    head.suspend()
    try:
        os.kill(cluster.sllm.node("gateway-0"), signal.SIGKILL)
        assert cluster.ask()
    finally:
        head.resume()
    eventually(cluster.describe, what="the head is back")
    assert cluster.ask()


def test_a_request_that_runs_on_a_killed_engine_is_answered_by_the_next(cluster: Cluster) -> None:
    # Unstreamed: no part of an answer has reached the client, so nothing is lost.
    engine = cluster.engine()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(cluster.ask, max_tokens=200, ignore_eos=True, temperature=0)
        time.sleep(0.5)
        os.kill(engine, signal.SIGKILL)
        assert len(asking.result(timeout=60)) > 100


def test_nothing_is_left_after_a_stop(tmp_path: Path) -> None:
    running = Cluster(tmp_path / "data", "--demo")
    try:
        running.wait_ready()
        socket = Path(running.wait_ready()["instances"][0]["address"].removeprefix("unix:"))
        assert socket.is_socket()
        engine = running.engine()
        assert running.sllm.stop() == 0, running.sllm.output
        assert running.sllm.left() == []
        assert group_is_gone(engine)
        assert not socket.parent.exists()
        assert "Traceback" not in running.sllm.output
    finally:
        running.close()


def test_nothing_is_left_when_the_launcher_itself_is_killed(tmp_path: Path) -> None:
    running = Cluster(tmp_path / "data", "--demo")
    try:
        engine = running.engine()
        running.sllm.look()
        running.sllm.stop(number=signal.SIGKILL)
        eventually(lambda: not running.sllm.left(), what="all nodes are gone")
        assert group_is_gone(engine)
    finally:
        running.close()
