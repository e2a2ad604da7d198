"""Many models on a worker with room for two: every request is answered, whoever dies meanwhile.

``SLLM_REQUESTS`` says how many requests there are, ``SLLM_SOAK_SEED`` in which order models are asked.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .cluster import Cluster, eventually

MODELS = 30
ROOM = 2
CLIENTS = 16
REQUESTS = int(os.environ.get("SLLM_REQUESTS", "60"))
SEED = int(os.environ.get("SLLM_SOAK_SEED") or random.randrange(2**31))

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(240 + 3 * REQUESTS)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose worker runs two engines at a time, with thirty models of which none is loaded."""
    running = Cluster(tmp_path / "data", "--slots", str(ROOM))
    try:
        for number in range(MODELS):
            document = {
                "model": f"m{number}",
                "backend": "llamacpp",
                "source": "demo:smollm2-135m",
                "backend_config": {"n_ctx": 512, "n_parallel": 4},
                "auto_scaling_config": {"min_instances": 0, "target": 4},
            }
            deployed = running.http.post("/deployments", json=document)
            assert deployed.status_code == 200, deployed.text
        yield running
    finally:
        running.close()


class Clients:
    """Clients that ask models in Zipf order until all requests are answered.

    Attributes:
        answered: How many answers came, by model.
        failed: What came instead.
    """

    def __init__(self, url: str, requests: int, seed: int) -> None:
        chance = random.Random(seed)
        weights = [1 / (rank + 1) for rank in range(MODELS)]
        self.asked = chance.choices(range(MODELS), weights, k=requests)
        self.answered: Counter[int] = Counter()
        self.failed: list[str] = []
        self._url = url
        self._lock = threading.Lock()

    def run(self) -> None:
        """Ask everything, ``CLIENTS`` requests at a time."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._ask, self.asked))

    def _ask(self, model: int) -> None:
        body = {
            "model": f"m{model}",
            "messages": [{"role": "user", "content": f"Say {model}."}],
            "max_tokens": 8,
        }
        try:
            answer = httpx2.post(f"{self._url}/v1/chat/completions", json=body, timeout=300, trust_env=False)
        except httpx2.TransportError as error:
            problem = repr(error)
        else:
            good = answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"]
            problem = "" if good else f"{answer.status_code} {answer.text[:300]}"
        with self._lock:
            if problem:
                self.failed.append(f"m{model}: {problem}")
            else:
                self.answered[model] += 1


def engines(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the replicas that run or are about to."""
    answer = cluster.http.get("/deployments", params={"limit": 1000})
    if answer.status_code != 200:
        return []
    return [each for deployment in answer.json()["deployments"] for each in deployment["instances"]]


def placed(cluster: Cluster) -> int:
    """Return how many replicas were started, as the log of the head says."""
    log = (cluster.data_dir / "head" / "node.log").read_text()
    return log.count("replica.placed")


def delete_all(cluster: Cluster) -> None:
    for number in range(MODELS):
        assert cluster.http.delete(f"/deployments/m{number}:llamacpp").status_code in (200, 202)
    eventually(lambda: engines(cluster) == [] or None, what="all engines are gone")


def test_thirty_models_share_the_room_of_two(cluster: Cluster) -> None:
    clients = Clients(cluster.url, REQUESTS, SEED)
    most, over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.2):
            serving = [each for each in engines(cluster) if each["pid"]]
            most = max(most, len(serving))

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.monotonic()
    try:
        clients.run()
    finally:
        over.set()
        watching.join()
    took = time.monotonic() - began

    told = f"seed {SEED}: {REQUESTS} requests in {took:.0f} s, {placed(cluster)} starts"
    assert clients.failed == [], (told, len(clients.failed), *clients.failed[:3])
    assert sum(clients.answered.values()) == REQUESTS
    assert 0 < most <= ROOM, told
    assert placed(cluster) < REQUESTS, told
    cluster.sllm.look()
    delete_all(cluster)
    assert cluster.sllm.stop() == 0
    assert cluster.sllm.left() == []
    print(told)  # noqa: T201


def test_none_is_lost_when_the_worker_and_the_head_are_killed_meanwhile(cluster: Cluster) -> None:
    clients = Clients(cluster.url, REQUESTS, SEED)
    asking = threading.Thread(target=clients.run)
    asking.start()
    try:
        for part, node in enumerate(("worker", "head", "worker", "head"), start=1):
            wait_for_answers(clients, part * REQUESTS // 6, asking)
            cluster.sllm.look()
            os.kill(cluster.sllm.node(node), signal.SIGKILL)
    finally:
        asking.join()
    assert clients.failed == [], (SEED, len(clients.failed), *clients.failed[:3])
    assert sum(clients.answered.values()) == REQUESTS
    cluster.sllm.look()
    assert cluster.sllm.stop() == 0
    assert cluster.sllm.left() == []


def wait_for_answers(clients: Clients, count: int, asking: threading.Thread) -> None:
    """Wait until so many requests were answered, or the clients have nothing more to ask."""
    eventually(
        lambda: sum(clients.answered.values()) >= count or not asking.is_alive(),
        within=3 * REQUESTS + 120,
        what=f"{count} answers",
    )
