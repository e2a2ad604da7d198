"""Workers on other hosts: what the network between them and the head has to carry, and what its loss does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.hosts.host import ip
from tests.hosts.network import needs_hosts

from .cluster import DEMO, eventually, group_is_gone
from .hosts import Hosts, Network, network_of, running_hosts

pytestmark = [pytest.mark.allow_blocking, needs_hosts]

WORKERS = 2


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with network_of(WORKERS) as made:
        yield made


@pytest.fixture(scope="module")
def hosts(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with running_hosts(tmp_path_factory.mktemp("hosts"), network) as running:
        yield running


def deploy(hosts: Hosts) -> dict[str, Any]:
    document = {"model": DEMO, "backend": "llamacpp", "source": f"demo:{DEMO}"}
    assert hosts.http.post("/deployments", json=document).status_code == 200
    return eventually(hosts.instance, what="the demo model is ready")


def test_beyond_loopback_every_request_needs_the_key(hosts: Hosts) -> None:
    url = str(hosts.http.base_url)
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as stranger:
        assert stranger.get("/health").status_code == 200
        for path in ("/v1/models", "/status"):
            refused = stranger.get(path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert stranger.get(f"http://{hosts.network.head}:8000/cluster").status_code == 200
        assert stranger.get(f"http://{hosts.network.head}:8000/workers").status_code == 401
    assert hosts.http.get("/status").status_code == 200


def test_an_engine_on_another_host_is_reached_through_its_worker(hosts: Hosts) -> None:
    deploy(hosts)
    assert hosts.chat().status_code == 200
    with hosts.http.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": DEMO, "messages": [{"role": "user", "content": "Hi"}], "stream": True},
    ) as streamed:
        assert "data: [DONE]" in streamed.read().decode()
    nodes = hosts.http.get("/status").json()["nodes"]
    assert {node["host"] for node in nodes if node["role"] == "worker"} == {
        hosts.network.address(number) for number in range(WORKERS)
    }


def test_a_model_moves_when_its_machine_vanishes_and_one_engine_is_left_when_it_is_back(
    hosts: Hosts, network: Network
) -> None:
    before = deploy(hosts)
    name = network.names[host_of(hosts, before)]
    ip("-n", name, "link", "set", "eth0", "down")
    try:
        assert hosts.chat().status_code == 200
        moved = eventually(lambda: hosts.instance(but=before["node"]), what="it is ready elsewhere")
    finally:
        ip("-n", name, "link", "set", "eth0", "up")
    # The machine is back, with its engine still running: what took its place stays, the old one is stopped.
    eventually(lambda: group_is_gone(before["pid"]), what="the engine that was cut off is stopped")
    eventually(lambda: not hosts.instance(but=moved["node"]), what="only the one in its place is left")
    left = hosts.instance()
    assert left is not None
    assert left["pid"] == moved["pid"]
    assert hosts.chat().status_code == 200


def test_a_worker_that_stops_cleanly_hands_its_model_over(hosts: Hosts) -> None:
    before = deploy(hosts)
    number = host_of(hosts, before)
    worker = hosts.workers.pop(number)
    worker.look()
    worker.stop(number=signal.SIGTERM)
    assert worker.left() == []
    worker.kill_all()
    assert hosts.chat().status_code == 200
    eventually(lambda: hosts.instance(but=before["node"]), what="it is ready elsewhere")
    hosts.start_worker(number)


def host_of(hosts: Hosts, instance: dict[str, Any]) -> int:
    """Return the number of the host that an instance runs on."""
    nodes = hosts.http.get("/status").json()["nodes"]
    name: str = next(node["name"] for node in nodes if node["id"] == instance["node"])
    return int(name.removeprefix("host"))
