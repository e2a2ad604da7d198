"""A model of which nothing runs is started by the first request for it, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Cluster, eventually

pytestmark = pytest.mark.allow_blocking

READS = (
    *(
        "/v1/models",
        "/models",
        "/v1/models/{model}",
        "/status",
        "/deployments",
        "/deployments/{model}:command",
    ),
    *("/nodes", "/health", "/openapi.json"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--allow-command", "--warm", "none")
    try:
        yield running
    finally:
        running.close()


def deploy(cluster: Cluster, model: str, *options: str, keep_alive: float = -1, **more: Any) -> None:
    command = list(fake_engine_argv("--socket", "$SOCKET", "--model", "$NAME", *options))
    document = {
        "model": model,
        "backend": "command",
        "backend_config": {"command": command},
        "auto_scaling_config": {"min_instances": 0, "max_instances": 1, "keep_alive": keep_alive},
        **more,
    }
    answer = cluster.http.post("/deployments", json=document)
    assert answer.is_success, answer.text


def status(cluster: Cluster, model: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.http.get(f"/v1/models/{model}").json()["status"]
    return found


def starts(cluster: Cluster, model: str) -> list[str]:
    return [each["id"] for each in cluster.described(f"{model}:command")["instances"]]


def ask(cluster: Cluster, model: str, **more: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}
    return cluster.http.post("/v1/chat/completions", json=body, timeout=60)


def test_the_first_request_starts_it_and_idle_time_runs_from_the_end_of_the_last_one_whoever_looks(
    cluster: Cluster,
) -> None:
    deploy(cluster, "m", keep_alive=3600)
    eventually(lambda: "m" in cluster.http.get("/v1/models").text, what="the gateway knows it")
    for path in READS:
        assert cluster.http.get(path.format(model="m")).is_success, path
    idle = {"value": "unloaded", "state": "idle", "failed": False}
    assert (status(cluster, "m"), starts(cluster, "m")) == (idle, [])
    assert ask(cluster, "m").json()["choices"][0]["message"]["content"].startswith("hello")
    assert status(cluster, "m")["value"] == "loaded"
    shorter = {"auto_scaling_config": {"keep_alive": 1}}
    assert cluster.http.patch("/deployments/m:command", json=shorter).is_success

    def looked() -> bool:
        for path in READS:
            cluster.http.get(path.format(model="m"))
        return not starts(cluster, "m")

    eventually(looked, what="it stops although it is looked at all the time")
    assert status(cluster, "m") == idle
    assert ask(cluster, "m").is_success, "and comes again"


def test_what_a_request_wishes_of_the_keep_alive_holds_up_to_what_the_deployment_says(
    cluster: Cluster,
) -> None:
    deploy(cluster, "hinted", keep_alive=3600)
    assert ask(cluster, "hinted", keep_alive="1h").is_success
    assert starts(cluster, "hinted")
    assert ask(cluster, "hinted", keep_alive=0).is_success
    eventually(lambda: not starts(cluster, "hinted"), what="it stops at once")
    deploy(cluster, "capped", keep_alive=1)
    assert ask(cluster, "capped", keep_alive=-1).is_success
    eventually(lambda: not starts(cluster, "capped"), what="it stops after its own second")
    refused = ask(cluster, "capped", keep_alive="a while")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "keep_alive")
    assert not starts(cluster, "capped")


def test_as_many_as_may_wait_for_it_do_and_hear_of_their_place(cluster: Cluster) -> None:
    deploy(cluster, "slow", "--start", "12", hold_limit=2)
    body = {"model": "slow", "messages": [{"role": "user", "content": "hello"}], "stream": True}

    def stream(_: int) -> tuple[int, str]:
        answer = cluster.http.post("/v1/chat/completions", json=body, timeout=60)
        return answer.status_code, answer.headers.get("retry-after", "") + answer.text

    with ThreadPoolExecutor(4) as threads:
        answers = sorted(threads.map(stream, range(4)))
    assert [code for code, _ in answers] == [200, 200, 429, 429]
    served, refused = [text for _, text in answers[:2]], [text for _, text in answers[2:]]
    assert all(text.endswith("data: [DONE]\n\n") for text in served)
    assert {place for place in ("place 1 of 2", "place 2 of 2") for text in served if place in text} == {
        "place 1 of 2",
        "place 2 of 2",
    }
    assert all(text[0].isdigit() and "hold_queue_full" in text for text in refused)


def test_one_that_is_not_ready_in_time_is_refused_with_when_to_come_back(cluster: Cluster) -> None:
    deploy(cluster, "slower", "--start", "60", hold_timeout=1)
    answer = ask(cluster, "slower")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cold_start_timeout")
    assert int(answer.headers["retry-after"]) >= 1
