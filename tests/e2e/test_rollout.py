"""New revisions are rolled out while clients go on asking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster
from .commands import sllm
from .machines import engine
from .traffic import Traffic

pytestmark = pytest.mark.allow_blocking


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two fake GPUs that may run commands."""
    arguments = ("--allow-command", "--fork-servers", "none", "--gpus", "2")
    running = Cluster(tmp_path_factory.mktemp("sllm"), *arguments)
    try:
        yield running
    finally:
        running.close()


def command(*options: str) -> str:
    """Return the argument of ``--set`` that makes a fake engine with these options the command."""
    return "backend_config.command=" + json.dumps(engine(*options)["backend_config"]["command"])


def deploy(cluster: Cluster, model: str, **more: object) -> None:
    answer = cluster.http.post("/deployments", json={"model": model, **engine("--model", "old"), **more})
    assert answer.status_code == 200, answer.text
    cluster.wait_ready(f"{model}:command")


def test_a_new_revision_takes_the_place_of_the_old_one_and_no_request_fails(cluster: Cluster) -> None:
    deploy(cluster, "served", auto_scaling_config={"min_instances": 2, "max_instances": 2})
    with Traffic(cluster.url, "served", watch="served:command") as traffic:
        updated = sllm(cluster, "update", "served", "--set", command("--model", "new"), "--wait")
        assert updated.returncode == 0, updated.stderr
        described = cluster.describe("served:command")
        assert described is not None
        assert described["revision"] == 2
        assert described["rollout"] is None
        assert [each["revision"] for each in described["instances"] if each["state"] == "ready"] == [2, 2]
        traffic.wait_for_answers(by="new")
        before = traffic.answers["old"]
        traffic.wait_for_answers(by="new")
        assert traffic.answers["old"] == before
    assert sllm(cluster, "delete", "served").returncode == 0


def test_a_revision_that_cannot_start_is_rolled_back_and_the_old_one_serves(cluster: Cluster) -> None:
    deploy(cluster, "steady")
    pid = cluster.engine("steady:command")
    with Traffic(cluster.url, "steady", watch="steady:command") as traffic:
        broken = command("--exit", "7", "--say", "no such adapter")
        updated = sllm(cluster, "update", "steady", "--set", broken, "--wait")
        assert updated.returncode == 1
        assert "steady:command: revision 2 was rolled back, and revision 1 serves" in updated.stderr
        assert "exit code 7" in updated.stderr
        assert len(updated.stderr.splitlines()) < 4
        shown = sllm(cluster, "status", "steady").stdout
        assert "rolled_back" in shown
        assert "exit code 7" in shown
        traffic.wait_for_answers()
    assert set(traffic.answers) == {"old"}
    assert cluster.engine("steady:command") == pid
    assert sllm(cluster, "delete", "steady").returncode == 0


def test_a_rollout_is_paused_and_resumed(cluster: Cluster, tmp_path: Path) -> None:
    deploy(cluster, "paused")
    not_yet = tmp_path / "not-yet"
    not_yet.touch()
    late = command("--model", "new", "--hang-file", str(not_yet))
    assert sllm(cluster, "update", "paused", "--set", late).returncode == 0
    paused = sllm(cluster, "update", "paused", "--pause")
    assert (paused.returncode, paused.stdout) == (0, "Rollout paused: paused:command (revision 2)\n")
    described = cluster.describe("paused:command")
    assert described is not None
    assert described["rollout"]["state"] == "paused"
    assert cluster.ask(model="paused")
    not_yet.unlink()
    resumed = sllm(cluster, "update", "paused", "--resume", "--wait")
    assert resumed.returncode == 0, resumed.stderr
    described = cluster.wait_ready("paused:command")
    assert (described["revision"], described["rollout"]) == (2, None)
    assert sllm(cluster, "delete", "paused").returncode == 0


def test_a_rollout_without_room_pauses_and_goes_on_with_downtime_if_that_is_allowed(cluster: Cluster) -> None:
    deploy(cluster, "tight", num_gpus=2)
    updated = sllm(cluster, "update", "tight", "--set", command("--model", "new"), "--wait")
    assert updated.returncode == 1
    assert "there is no room for revision 2 beside the replica that serves" in updated.stderr
    assert "--allow-downtime" in updated.stderr
    assert cluster.ask(model="tight")
    resumed = sllm(cluster, "update", "tight", "--resume", "--allow-downtime", "--wait")
    assert resumed.returncode == 0, resumed.stderr
    described = cluster.wait_ready("tight:command")
    assert (described["revision"], described["rollout"]) == (2, None)
    assert sllm(cluster, "delete", "tight").returncode == 0
