"""Two models share a GPU that has room for one: real processes, on a GPU that is played."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sllm_actors.testing.fake_engine import PROGRAM

from .cluster import Cluster, eventually
from .commands import sllm

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
PLAYED = ROOT / "tests" / "bench" / "played_gpu"
ENGINE = ROOT / "bench" / "gpu" / "engine.py"


def stall_file(folder: Path, model: str) -> Path:
    """Return the file that keeps a model's engine from generating anything while it exists."""
    return folder / f"stall-{model}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with a GPU, and two deployments of which nothing runs."""
    held = tmp_path / "held"
    held.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAYED_GPU", str(held))
        patch.setenv("PYTHONPATH", f"{PLAYED}:{ROOT}")
        running = Cluster(tmp_path / "sllm", "--allow-command")
    try:
        for model in ("first", "second"):
            command = [sys.executable, str(ENGINE), "--fake-engine", str(PROGRAM), "--socket", "$SOCKET"]
            command += ["--model", "$NAME", "--weights", "4096", "--cache", "2048"]
            command += ["--stall-file", str(stall_file(tmp_path, model))]
            document: dict[str, Any] = {"model": model, "backend": "command", "num_gpus": 1}
            document["backend_config"] = {"command": command, "enable_sleep_mode": True}
            document["auto_scaling_config"] = {"min_instances": 0}
            answer = running.http.post("/deployments", json=document)
            assert answer.status_code == 200, answer.text
        yield running
    finally:
        running.close()


def instance(cluster: Cluster, model: str) -> dict[str, Any]:
    (only,) = cluster.described(f"{model}:command")["instances"]
    found: dict[str, Any] = only
    return found


def in_flight(cluster: Cluster, model: str) -> bool:
    described = cluster.describe(f"{model}:command")
    assert described is not None
    return bool(described["in_flight"])


def test_two_models_take_turns_on_a_gpu_by_sleeping(cluster: Cluster) -> None:
    assert cluster.ask("hello", model="first").startswith("hello")
    before = instance(cluster, "first")
    assert cluster.ask("hello", model="second").startswith("hello")
    eventually(lambda: instance(cluster, "first")["state"] == "asleep", what="the first sleeps")
    eventually(lambda: instance(cluster, "second")["state"] == "ready", what="the second is ready")

    assert cluster.ask("again", model="first").startswith("again")
    after = instance(cluster, "first")
    assert (after["id"], after["pid"]) == (before["id"], before["pid"]), "it woke, and was not started anew"
    eventually(lambda: instance(cluster, "second")["state"] == "asleep", what="the second sleeps")

    def events() -> list[dict[str, Any]]:
        told = sllm(cluster, "events", "--json").stdout.splitlines()
        return [json.loads(line) for line in told if line.startswith("{")]

    def woken() -> list[str]:
        return [each["subject"] for each in events() if each["kind"] == "replica.woken"]

    eventually(lambda: woken() == ["first:command"], what="it is told that the first was woken")
    evicted = [each["sentence"] for each in events() if each["kind"] == "replica.evicted"]
    assert [sentence.partition("@")[0] for sentence in evicted] == ["first:command", "second:command"]
    assert all(sentence.endswith("it sleeps at level 1") for sentence in evicted)
    status = sllm(cluster, "status", "second").stdout
    assert "asleep" in status


def test_one_in_use_sleeps_when_its_request_has_ended_and_not_before(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert cluster.ask("hello", model="first").startswith("hello")
    before = instance(cluster, "first")
    stall = stall_file(tmp_path, "first")
    stall.touch()
    with ThreadPoolExecutor(3) as clients:
        try:
            long = clients.submit(cluster.ask, "a long one", model="first")
            eventually(lambda: in_flight(cluster, "first"), within=60, what="the first is in use")
            other = clients.submit(cluster.ask, "hello", model="second")
            eventually(lambda: instance(cluster, "first")["state"] == "asleep", within=60, what="its turn")
            waits = clients.submit(cluster.ask, "a late one", model="first")
            assert not long.done()
            assert not other.done()
            assert instance(cluster, "first")["progress"] == "waiting for its requests to end"
        finally:
            stall.unlink()
        assert long.result().startswith("a long one")
        assert other.result().startswith("hello")
        assert waits.result().startswith("a late one")
    after = instance(cluster, "first")
    assert (after["id"], after["pid"]) == (before["id"], before["pid"]), "it woke, and was not started anew"
    told = sllm(cluster, "events", "--json").stdout
    assert "it sleeps at level 1 when its own have ended" in told
