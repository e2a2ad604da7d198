"""A worker whose disk is full joins, reports, and comes back, as the same node if it was one before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.ports import free_port
from tests.small_disk import SmallDisk, small_disk

from .cluster import DEMO, DEMO_ID, eventually
from .test_nodes import LOOPBACK, chat, started

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A head with a gateway: the gateway's address, and where workers join."""
    folder = tmp_path_factory.mktemp("head")
    port, cluster_port = free_port(), free_port()
    (folder / "secret").write_text(SECRET)
    ports = ("--port", str(port), "--cluster-port", str(cluster_port), "--transport-port", "0")
    with started("head", *ports, "--data-dir", str(folder), *LOOPBACK) as running:
        running.wait_for("OpenAI API")
        yield f"http://127.0.0.1:{port}", f"127.0.0.1:{cluster_port}"
        assert "Traceback" not in running.output


SECRET = "a secret of thirty-two characters"


def worker_on(disk: SmallDisk, head: tuple[str, str], name: str) -> Any:
    arguments = ("worker", "--head", head[1], "--port", "0", "--name", name, "--fork-servers", "none")
    return started(*arguments, "--data-dir", str(disk.folder), *LOOPBACK, env={"SLLM_CLUSTER_SECRET": SECRET})


def node(head: tuple[str, str], name: str) -> dict[str, Any] | None:
    """Return what the head says of a worker that is up."""
    status = httpx2.get(f"{head[0]}/status", timeout=60, trust_env=False).json()
    return next((each for each in status["nodes"] if each["name"] == name and each["state"] == "up"), None)


def test_a_worker_whose_disk_is_full_from_the_beginning_joins_and_reports(
    disk: SmallDisk, head: tuple[str, str]
) -> None:
    disk.fill()
    with worker_on(disk, head, "full") as worker:
        found = eventually(lambda: node(head, "full"), what="it reports")
        assert found["memory_total"] > 0
        assert "No space left on device" in worker.output
        assert worker.stop(number=signal.SIGTERM) == 0
        assert "Traceback" not in worker.output


def test_a_worker_whose_disk_has_become_full_is_the_same_node_after_each_start(
    disk: SmallDisk, head: tuple[str, str]
) -> None:
    ids = set()
    for _ in range(3):
        with worker_on(disk, head, "filled") as worker:
            ids.add(eventually(lambda: node(head, "filled"), what="it reports")["id"])
            disk.fill()
            worker.stop(number=signal.SIGTERM)
            assert "Traceback" not in worker.output
    assert len(ids) == 1


def test_a_worker_that_was_taken_for_dead_comes_back_although_its_disk_is_full(
    disk: SmallDisk, head: tuple[str, str]
) -> None:
    with worker_on(disk, head, "paused") as worker:
        eventually(lambda: node(head, "paused"), what="it reports")
        disk.fill()
        process = worker.node("worker")
        os.kill(process, signal.SIGSTOP)
        eventually(lambda: node(head, "paused") is None, what="it is down")
        os.kill(process, signal.SIGCONT)
        eventually(lambda: node(head, "paused"), what="it is up again")
        assert worker.node("worker") == process
        worker.stop(number=signal.SIGTERM)  # else the head would place what comes next there for some seconds
        assert "Traceback" not in worker.output


def test_an_engine_starts_once_there_is_room_again(disk: SmallDisk, head: tuple[str, str]) -> None:
    disk.fill()
    with worker_on(disk, head, "roomy") as worker:
        eventually(lambda: node(head, "roomy"), what="it reports")
        document = {"model": DEMO, "backend": "llamacpp", "source": f"demo:{DEMO}"}
        deployed = httpx2.post(f"{head[0]}/deployments", json=document, trust_env=False, timeout=60)
        assert deployed.is_success, deployed.text

        def reason() -> str:
            described = httpx2.get(f"{head[0]}/deployments/{DEMO_ID}", timeout=60, trust_env=False).json()
            return "".join(each["reason"] for each in described["instances"])

        eventually(lambda: "No space left on device" in reason(), what="it says why")
        disk.free()
        assert chat(head[0])
        httpx2.delete(f"{head[0]}/deployments/{DEMO_ID}", trust_env=False, timeout=60)
        assert "Traceback" not in worker.output
