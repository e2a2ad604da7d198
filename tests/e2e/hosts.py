"""Several hosts on one machine: each worker in a network namespace of its own.

So everything between head, gateway and engine has to cross a network.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from attrs import frozen
from tests.children import keep
from tests.hosts.host import ip
from tests.hosts.network import claimed

from .cluster import DEMO, DEMO_ID, Sllm


@frozen
class Network:
    """A bridge on this host, which runs the head, and a namespace for each worker.

    Attributes:
        number: What no other network of this machine has meanwhile: it is in every name and address.
        names: The namespaces.
    """

    number: int
    names: tuple[str, ...]

    @property
    def head(self) -> str:
        """The address of this host."""
        return f"10.231.{self.number}.1"

    @property
    def bridge(self) -> str:
        return f"sllmtest{self.number}"

    def address(self, number: int) -> str:
        """Return the address of a worker's host."""
        return f"10.231.{self.number}.{11 + number}"


@contextmanager
def network_of(count: int) -> Iterator[Network]:
    """Make a network of so many workers."""
    with claimed() as number:
        network = Network(number, tuple(f"sllmtest{number}-{each}" for each in range(count)))
        take_down(network)
        try:
            set_up(network)
            yield network
        finally:
            take_down(network)


def set_up(network: Network) -> None:
    ip("link", "add", network.bridge, "type", "bridge")
    ip("addr", "add", f"{network.head}/24", "dev", network.bridge)
    ip("link", "set", network.bridge, "up")
    for number, name in enumerate(network.names):
        ip("netns", "add", name)
        ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"v{name}", "master", network.bridge, "up")
        ip("-n", name, "addr", "add", f"{network.address(number)}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")


def take_down(network: Network) -> None:
    """Remove what is there; links one by one, since a namespace outlives its name while a socket closes."""
    for name in network.names:
        for command in (("link", "del", f"v{name}"), ("netns", "del", name)):
            subprocess.run(["ip", *command], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", network.bridge], check=False, capture_output=True)


@frozen
class Hosts:
    """A head on this host and a worker on each other one."""

    folder: Path
    network: Network
    head: Sllm
    workers: list[Sllm]
    http: httpx2.Client
    arguments: tuple[str, ...] = ()

    def start_worker(self, number: int) -> Sllm:
        """Start a worker on another host, and wait until it has joined."""
        name = self.network.names[number]
        files = ("--data-dir", str(self.folder / name), "--secret-file", str(self.folder / "head" / "secret"))
        arguments = (
            "--head",
            f"{self.network.head}:8000",
            "--name",
            f"host{number}",
            *files,
            *self.arguments,
        )
        worker = Sllm("worker", *arguments, prefix=("ip", "netns", "exec", name))
        keep(worker.process)  # whichever test starts it, all of them use it
        self.workers.insert(number, worker)
        worker.wait_for("joined the head")
        return worker

    def chat(self, **more: Any) -> httpx2.Response:
        body = {"model": DEMO, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **more}
        return self.http.post("/v1/chat/completions", json=body)

    def instance(self, *, but: str = "") -> dict[str, Any] | None:
        """Return the ready instance of the demo model on another node than ``but``, or None."""
        response = self.http.get(f"/deployments/{DEMO_ID}")
        instances = response.json()["instances"] if response.status_code == 200 else []
        return next((i for i in instances if i["state"] == "ready" and i["node"] != but), None)


@contextmanager
def running_hosts(folder: Path, network: Network, *arguments: str) -> Iterator[Hosts]:
    """Run a head on this host and a worker on each other one; ``arguments`` are for the workers."""
    ports = ("--port", "0", "--cluster-port", "8000", "--transport-port", "8001")
    head = Sllm("head", *ports, "--host", network.head, "--data-dir", str(folder / "head"))
    workers: list[Sllm] = []
    try:
        url = head.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        key = (folder / "head" / "admin-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            running = Hosts(folder, network, head, workers, http, arguments)
            for number in range(len(network.names)):
                running.start_worker(number)
            yield running
    finally:
        for each in (*workers, head):
            each.kill_all()
