"""Engines that die under requests, in a real cluster: whose requests are answered, and whose are not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(240)]

TWO = {"min_instances": 2, "max_instances": 2}


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that runs fake engines."""
    running = Cluster(tmp_path / "data", "--allow-command", "--warm", "none")
    try:
        yield running
    finally:
        running.close()


def deploy(cluster: Cluster, document: dict[str, Any]) -> None:
    deployed = cluster.http.post("/deployments", json={"num_gpus": 0, "auto_scaling_config": TWO, **document})
    assert deployed.status_code == 200, deployed.text


def deploy_fakes(cluster: Cluster, *options: str) -> list[dict[str, Any]]:
    """Deploy two fake engines as ``m``; return them once they are ready."""
    argv = fake_engine_argv("--port", "$PORT", *options, python=sys.executable)
    deploy(cluster, {"model": "m", "backend": "command", "backend_config": {"command": list(argv)}})
    return ready(cluster, "m:command")


def ready(cluster: Cluster, deployment: str, *, within: float = 60.0) -> list[dict[str, Any]]:
    """Wait until both replicas of a deployment are ready; return them."""

    def both() -> list[dict[str, Any]]:
        described = cluster.describe(deployment) or {"instances": []}
        found = [each for each in described["instances"] if each["state"] == "ready"]
        return found if len(found) == 2 else []

    return eventually(both, within=within, what=f"both replicas of {deployment} are ready")


def chat(cluster: Cluster, text: str, *, model: str = "m", **more: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return httpx2.post(f"{cluster.url}/v1/chat/completions", json=body, timeout=120, trust_env=False)


def pids(instances: list[dict[str, Any]]) -> set[int]:
    return {each["pid"] for each in instances}


def test_a_killed_engine_fails_none_of_a_hundred_requests_where_another_serves(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data", "--warm", "none")
    try:
        source = {"source": "demo:smollm2-135m", "backend_config": {"n_ctx": 1024}}
        deploy(cluster, {"model": "smol", "backend": "llamacpp", **source})
        lost = ready(cluster, "smol:llamacpp", within=120)[0]["pid"]
        with ThreadPoolExecutor(25) as pool:
            more: dict[str, Any] = {"model": "smol", "max_tokens": 12}
            asking: list[Future[httpx2.Response]] = [
                pool.submit(chat, cluster, f"Tell me about the number {number}.", **more)
                for number in range(100)
            ]
            eventually(lambda: sum(each.done() for each in asking) >= 10, within=120, what="ten answers")
            os.kill(lost, signal.SIGKILL)
            answers = [each.result() for each in asking]
        assert [each.text for each in answers if each.status_code != 200] == []
        assert lost not in pids(ready(cluster, "smol:llamacpp"))
    finally:
        cluster.close()


def test_a_request_that_kills_engines_is_stopped_and_refused_when_it_is_sent_again(commands: Cluster) -> None:
    before = deploy_fakes(commands, "--die-on", "poison")

    answer = chat(commands, "poison")
    assert answer.status_code == 502, answer.text
    assert answer.json()["error"]["code"] == "request_breaks_engines"
    assert answer.headers["x-should-retry"] == "false"

    after = ready(commands, "m:command")
    assert not pids(after) & pids(before)
    assert chat(commands, "hello there").status_code == 200
    again = chat(commands, "poison")
    assert (again.status_code, again.json()["error"]["code"]) == (502, "request_breaks_engines")
    assert pids(ready(commands, "m:command")) == pids(after)


def test_errors_of_an_engine_that_does_not_serve_are_no_answers(commands: Cluster, tmp_path: Path) -> None:
    one, _ = deploy_fakes(commands, "--dead-file", str(tmp_path / "dead-$PORT"))
    port = one["address"].rpartition(":")[2]
    (tmp_path / f"dead-{port}").touch()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda number: chat(commands, f"word {number}"), range(50)))
    assert [each.text for each in answers if each.status_code != 200] == []
    assert {each.json()["choices"][0]["message"]["content"] for each in answers} == {
        f"word {number}" for number in range(50)
    }
