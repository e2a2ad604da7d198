"""``sllm events -f`` tells every decision once, though the head and the gateway are killed meanwhile."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.children import child

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually
from .commands import sllm

pytestmark = pytest.mark.allow_blocking


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--allow-command", "--warm", "none")
    try:
        yield running
    finally:
        running.close()


def deploy(cluster: Cluster, model: str, **more: Any) -> None:
    command = list(fake_engine_argv("--socket", "$SOCKET", "--model", "$NAME"))
    document = {"model": model, "backend": "command", "backend_config": {"command": command}, **more}
    # On a connection of its own: one that was kept open is reset when its gateway is killed.
    answer = httpx2.post(f"{cluster.url}/deployments", json=document, timeout=60, trust_env=False)
    assert answer.is_success, answer.text


@pytest.fixture
def followed(cluster: Cluster, tmp_path: Path) -> Iterator[queue.Queue[dict[str, Any]]]:
    """What ``sllm events -f`` prints, entry by entry."""
    found: queue.Queue[dict[str, Any]] = queue.Queue()
    environment = os.environ | {"LLM_SERVER_URL": cluster.url, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "sllm_actors", "events", "-f", "--json", "--since", "1d"]
    with child(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as follower:
        assert follower.stdout is not None
        lines = follower.stdout

        def read() -> None:
            for line in lines:
                found.put(json.loads(line))

        reader = threading.Thread(target=read)
        reader.start()
        yield found
        follower.send_signal(signal.SIGINT)
        assert follower.wait(60) == 130
        reader.join(60)


def wait_for(
    followed: queue.Queue[dict[str, Any]], seen: list[dict[str, Any]], kind: str, subject: str
) -> None:
    while not seen or (seen[-1]["kind"], seen[-1]["subject"]) != (kind, subject):
        seen.append(followed.get(timeout=60))


def test_whoever_follows_misses_nothing_when_head_and_gateway_are_killed(
    cluster: Cluster, followed: queue.Queue[dict[str, Any]]
) -> None:
    seen: list[dict[str, Any]] = []
    deploy(cluster, "first")
    wait_for(followed, seen, "replica.ready", "first:command")
    os.kill(cluster.sllm.node("head"), signal.SIGKILL)
    cluster.wait_ready("first:command")
    deploy(cluster, "second")
    wait_for(followed, seen, "replica.ready", "second:command")
    os.kill(cluster.sllm.node("gateway-0"), signal.SIGKILL)
    cluster.wait_ready("second:command")
    deploy(cluster, "third")
    wait_for(followed, seen, "replica.ready", "third:command")
    numbers = [each["number"] for each in seen]
    assert numbers == sorted(set(numbers))
    for name in ("first", "second", "third"):
        kinds = [each["kind"] for each in seen if each["subject"] == f"{name}:command"]
        assert kinds == ["deployment.created", "replica.placed", "replica.ready"]
    listed = httpx2.get(f"{cluster.url}/events?limit=1000&after=0", trust_env=False, timeout=60).json()[
        "events"
    ]
    # The journal is written a moment after it is told: a head that is killed has told what is not listed.
    told = [each for each in listed if each["number"] <= seen[-1]["number"]]
    assert [each for each in seen if each in told] == told


def test_a_person_reads_why_a_deployment_waits_and_what_was_decided(cluster: Cluster) -> None:
    deploy(cluster, "large", num_gpus=64)
    shown = eventually(
        lambda: text if "free GPUs" in (text := sllm(cluster, "status", "large").stdout) else None,
        what="it says why",
    )
    assert "no worker has 64 free GPUs for it" in shown
    assert "What was decided last:" in shown
    assert "large:command is deployed" in shown
    told = sllm(cluster, "events", "large")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0].endswith("large:command is deployed")
    assert sllm(cluster, "events", "nobody").returncode == 1
