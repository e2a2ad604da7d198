"""Twelve models on three hosts, each with room for one: they move to where there is room, and all answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from tests.hosts.network import needs_hosts

from .cluster import eventually
from .hosts import Hosts, network_of, running_hosts

pytestmark = [pytest.mark.allow_blocking, needs_hosts]

WORKERS = 3
MODELS = 12
REQUESTS = 60
CLIENTS = 8


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with network_of(WORKERS) as network, running_hosts(tmp_path, network, "--slots", "1") as running:
        for number in range(MODELS):
            document = {
                "model": f"m{number}",
                "backend": "llamacpp",
                "source": "demo:smollm2-135m",
                "backend_config": {"n_ctx": 512},
                "auto_scaling_config": {"min_instances": 0},
            }
            assert running.http.post("/deployments", json=document).status_code == 200
        yield running


def test_models_come_and_go_on_every_host_and_go_on_when_one_of_them_vanishes(hosts: Hosts) -> None:
    chance = random.Random(12)
    asked = chance.choices(range(MODELS), [1 / (rank + 1) for rank in range(MODELS)], k=REQUESTS)
    statuses: Counter[int] = Counter()

    def ask(model: int) -> None:
        body = {"model": f"m{model}", "prompt": "Hello", "max_tokens": 4}
        try:
            statuses[hosts.http.post("/v1/completions", json=body, timeout=120).status_code] += 1
        except httpx2.TransportError:
            statuses[0] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, asked[: REQUESTS // 2]))
        assert statuses == {200: REQUESTS // 2}
        assert len(serving_hosts(hosts)) == WORKERS

        going = [pool.submit(ask, model) for model in asked[REQUESTS // 2 :]]
        hosts.workers.pop(0).kill_all()
        for each in going:
            each.result()
    assert statuses == {200: REQUESTS}
    eventually(lambda: serving_hosts(hosts) == {"host1", "host2"}, what="two hosts serve")


def serving_hosts(hosts: Hosts) -> set[str]:
    """Return the hosts on which an engine is ready."""
    listed = hosts.http.get("/deployments", params={"limit": 1000}).json()["deployments"]
    ready = [each for deployment in listed for each in deployment["instances"] if each["state"] == "ready"]
    return {each["node_name"] for each in ready}
