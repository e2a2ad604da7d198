"""``sllm pull`` through a whole cluster: files come without being served, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.children import child
from tests.models.hub_server import HubServer, run_hub

from .cluster import Cluster, eventually
from .commands import gguf, sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

SOURCE = "hf:org/one"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with run_hub() as running:
        running.put("org/one", {"one.gguf": gguf().read_bytes()})
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def cluster(tmp_path: Path, hub: HubServer) -> Iterator[Cluster]:
    running = Cluster(tmp_path / "data")
    try:
        yield running
    finally:
        running.close()


def pull(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return sllm(cluster, "pull", SOURCE, "--backend", "llamacpp", *arguments)


def watching(cluster: Cluster, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start a pull that is watched."""
    argv = [sys.executable, "-m", "sllm_actors", "pull", SOURCE, "--backend", "llamacpp", *arguments]
    env = {**os.environ, "LLM_SERVER_URL": cluster.url}
    return child(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(cluster: Cluster, victim: str) -> None:
    """Kill a node, and wait until its successor has joined."""
    os.kill(killed := cluster.sllm.node(victim), signal.SIGKILL)
    eventually(lambda: cluster.sllm.node(victim) != killed, what=f"{victim} runs again")
    eventually(lambda: up(cluster) == {"worker", "gateway"}, what="the cluster is whole again")


def up(cluster: Cluster) -> set[str]:
    """Return the roles of the nodes that are up, as the head says."""
    return {node["role"] for node in cluster.nodes() if node["state"] == "up"}


def state(cluster: Cluster) -> Any:
    """Return how far the pull is on the only worker."""
    answer = json.loads(pull(cluster, "--no-wait", "--json").stdout)
    return answer["workers"][0]


def test_files_come_before_a_deployment_which_downloads_nothing(cluster: Cluster, hub: HubServer) -> None:
    ended = pull(cluster)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(f"Pulled: {SOURCE} (")
    assert pull(cluster).stdout.startswith(f"There already: {SOURCE} (")
    assert cluster.http.get("/deployments").json()["deployments"] == []

    asked = list(hub.asked)
    options = ("--backend", "llamacpp", "--source", SOURCE, "--engine-arg", "n_ctx=512")
    deployed = sllm(cluster, "deploy", "one", *options, "--wait")
    assert deployed.returncode == 0, deployed.stderr
    assert cluster.ask(model="one")
    assert hub.asked == asked


def test_a_pull_goes_on_over_the_deaths_of_worker_head_and_gateway(cluster: Cluster, hub: HubServer) -> None:
    hub.step_delay = 0.02
    with watching(cluster, "--json") as watched:
        assert watched.stdout is not None
        for victim in ("worker", "head", "gateway-0"):
            eventually(lambda: state(cluster)["done"], what="some of it is there")
            kill(cluster, victim)
        hub.step_delay = 0.0
        said, complaints = watched.communicate(timeout=60)
    assert watched.returncode == 0, complaints
    last = json.loads(said.splitlines()[-1])
    assert (last["state"], last["workers"][0]["done"]) == ("done", last["workers"][0]["total"])
    assert hub.ranges()  # it went on where the killed worker had ended


def test_an_interrupted_pull_goes_on_and_a_cancelled_one_does_not(cluster: Cluster, hub: HubServer) -> None:
    hub.step_delay = 0.02
    with watching(cluster) as watched:
        assert watched.stdout is not None
        assert "downloading org/one" in next(line for line in watched.stdout if "downloading" in line)
        watched.send_signal(signal.SIGINT)
        _, complaints = watched.communicate(timeout=60)
    assert watched.returncode == 130
    assert complaints.strip() == f"the pull of {SOURCE} goes on: `sllm pull {SOURCE} --cancel` ends it"
    assert state(cluster)["state"] == "pulling"

    cancelled = pull(cluster, "--cancel")
    assert (cancelled.returncode, cancelled.stdout.split(" on ")[0]) == (0, f"Cancelled: {SOURCE}")
    hub.step_delay = 0.0
    assert pull(cluster).returncode == 0  # what came before the cancellation is not asked for again
    assert len(hub.ranges()) == 1


def test_what_is_wrong_is_one_sentence_and_the_exit_status_1(cluster: Cluster, hub: HubServer) -> None:
    hub.put("org/secret", {"a.gguf": b"GGUF"})
    hub.gated["org/secret"] = "token"
    for arguments, sentence in (
        (
            ("hf:org/one", "--worker", "nowhere"),
            "there is no worker nowhere: `sllm status --nodes`",
        ),
        (("hf:org/secret", "--backend", "llamacpp"), "org/secret is gated: accept its terms at"),
        (("hf:org/one",), "hf:org/one has GGUF files only: deploy it with --backend llamacpp"),
        (("hf:org/nothing",), "has no org/nothing, or it is private: check its name"),
    ):
        ended = sllm(cluster, "pull", *arguments)
        assert ended.returncode == 1
        assert sentence in ended.stderr
        assert ended.stderr.count("\n") == 1
