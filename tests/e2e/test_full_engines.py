"""An engine in which requests wait gets another one beside it, far below the target of its deployment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from .cluster import Cluster, eventually

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(240)]

ID = "m:llamacpp"
DOCUMENT = {
    "model": "m",
    "backend": "llamacpp",
    "source": "demo:smollm2-135m",
    "backend_config": {"n_ctx": 512, "n_parallel": 1, "n_threads": 1},
    "max_concurrency": 8,
    "auto_scaling_config": {"min_instances": 1, "max_instances": 2, "target": 100, "scale_down_delay": 5},
}
CLIENTS = 8


def test_a_llama_cpp_that_defers_requests_gets_another_one_beside_it(fresh_cluster: Cluster) -> None:
    assert fresh_cluster.http.post("/deployments", json=DOCUMENT).is_success
    fresh_cluster.wait_ready(ID)
    enough = threading.Event()

    def ask(_: int) -> None:
        body = {"model": "m", "prompt": "Count:", "max_tokens": 16, "ignore_eos": True}
        while not enough.is_set():
            fresh_cluster.http.post("/v1/completions", json=body, timeout=120).raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as threads:
        asking = [threads.submit(ask, each) for each in range(CLIENTS)]
        try:
            eventually(lambda: ready(fresh_cluster) == 2, within=90, what="a second one serves")
        finally:
            enough.set()
        for each in asking:
            each.result()
    told = fresh_cluster.http.get("/events", params={"subject": ID}).text
    assert "from 1 to 2: its engines are full: 5 or more requests waited inside one" in told


def ready(cluster: Cluster) -> int:
    return sum(each["state"] == "ready" for each in cluster.described(ID)["instances"])
