"""Several hosts on one machine: each worker in a network namespace of its own.

So everything between head, gateway and engine has to cross a network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from attrs import frozen
from tests.children import keep

from .cluster import DEMO, DEMO_ID, Sllm, eventually, group_is_gone

pytestmark = [
    pytest.mark.allow_blocking,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2 to make hosts"
    ),
]

HEAD = "10.231.77.1"
WORKERS = ("10.231.77.11", "10.231.77.12")
BRIDGE = "sllmtest0"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def network() -> Iterator[list[str]]:
    """A bridge on this host, which runs the head, and a namespace for each worker; returns their names."""
    names = [f"sllmtest{number}" for number in range(1, len(WORKERS) + 1)]
    take_down(names)
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{HEAD}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for name, address in zip(names, WORKERS, strict=True):
            ip("netns", "add", name)
            ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"v{name}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        take_down(names)


def take_down(names: list[str]) -> None:
    """Remove what is there; links one by one, since a namespace outlives its name while a socket closes."""
    for name in names:
        for command in (("link", "del", f"v{name}"), ("netns", "del", name)):
            subprocess.run(["ip", *command], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


@frozen
class Hosts:
    """A head on this host and a worker on each other one."""

    folder: Path
    network: list[str]
    head: Sllm
    workers: list[Sllm]
    http: httpx2.Client

    def start_worker(self, number: int) -> Sllm:
        """Start a worker on another host, and wait until it has joined."""
        name = self.network[number]
        files = ("--data-dir", str(self.folder / name), "--secret-file", str(self.folder / "head" / "secret"))
        arguments = ("--head", f"{HEAD}:8000", "--name", f"host{number}", *files)
        worker = Sllm("worker", *arguments, prefix=("ip", "netns", "exec", name))
        keep(worker.process)  # whichever test starts it, all of them use it
        self.workers.insert(number, worker)
        worker.wait_for("joined the head")
        return worker

    def chat(self, **more: Any) -> httpx2.Response:
        body = {"model": DEMO, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **more}
        return self.http.post("/v1/chat/completions", json=body)

    def instance(self) -> dict[str, Any] | None:
        """Return the ready instance of the demo model, or None."""
        response = self.http.get(f"/deployments/{DEMO_ID}")
        instances = response.json()["instances"] if response.status_code == 200 else []
        return next((i for i in instances if i["state"] == "ready"), None)


@pytest.fixture(scope="module")
def hosts(network: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    ports = ("--port", "0", "--cluster-port", "8000", "--transport-port", "8001")
    head = Sllm("head", *ports, "--host", HEAD, "--data-dir", str(folder / "head"))
    workers: list[Sllm] = []
    try:
        url = head.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        key = (folder / "head" / "admin-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            running = Hosts(folder, network, head, workers, http)
            for number in range(len(network)):
                running.start_worker(number)
            yield running
    finally:
        for each in (*workers, head):
            each.kill_all()


def deploy(hosts: Hosts) -> dict[str, Any]:
    document = {"model": DEMO, "backend": "llamacpp", "source": f"demo:{DEMO}"}
    assert hosts.http.post("/deployments", json=document).status_code == 200
    return eventually(hosts.instance, within=60, what="the demo model is ready")


def test_beyond_loopback_every_request_needs_the_key(hosts: Hosts) -> None:
    url = str(hosts.http.base_url)
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as stranger:
        assert stranger.get("/health").status_code == 200
        for path in ("/v1/models", "/status"):
            refused = stranger.get(path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert stranger.get(f"http://{HEAD}:8000/cluster").status_code == 200
        assert stranger.get(f"http://{HEAD}:8000/workers").status_code == 401
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
    assert {node["host"] for node in nodes if node["role"] == "worker"} == set(WORKERS)


def test_a_model_moves_when_its_machine_vanishes_and_one_engine_is_left_when_it_is_back(
    hosts: Hosts, network: list[str]
) -> None:
    before = deploy(hosts)
    name = network[host_of(hosts, before)]
    ip("-n", name, "link", "set", "eth0", "down")
    try:
        began = time.monotonic()
        assert hosts.chat().status_code == 200
        assert time.monotonic() - began < 20
        moved = eventually(hosts.instance, within=20, what="it is ready elsewhere")
        assert moved["node"] != before["node"]
    finally:
        ip("-n", name, "link", "set", "eth0", "up")
    # The machine is back, with its engine still running: what took its place stays, the old one is stopped.
    eventually(lambda: group_is_gone(before["pid"]), within=40, what="the engine that was cut off is stopped")
    left = eventually(hosts.instance, within=20, what="it is ready")
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
    after = eventually(hosts.instance, within=20, what="it is ready elsewhere")
    assert after["node"] != before["node"]
    hosts.start_worker(number)


def host_of(hosts: Hosts, instance: dict[str, Any]) -> int:
    """Return the number of the host that an instance runs on."""
    nodes = hosts.http.get("/status").json()["nodes"]
    name: str = next(node["name"] for node in nodes if node["id"] == instance["node"])
    return int(name.removeprefix("host"))
