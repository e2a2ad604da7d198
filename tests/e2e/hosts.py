"""Several hosts on one machine: each worker in a network namespace of its own.

So everything between head, gateway and engine has to cross a network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from attrs import frozen
from tests.children import keep

from .cluster import DEMO, DEMO_ID, Sllm

needs_hosts = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2 to make hosts"
)

HEAD = "10.231.77.1"
BRIDGE = "sllmtest0"


def address(number: int) -> str:
    """Return the address of a worker's host."""
    return f"10.231.77.{11 + number}"


def ip(*arguments: str) -> None:
    """Run ``ip``, which has to succeed."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def network_of(count: int) -> Iterator[list[str]]:
    """Make a bridge on this host, which runs the head, and a namespace for each worker; yield their names."""
    names = [f"sllmtest{number}" for number in range(1, count + 1)]
    take_down(names)
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{HEAD}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"v{name}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{address(number)}/24", "dev", "eth0")
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
    arguments: tuple[str, ...] = ()

    def start_worker(self, number: int) -> Sllm:
        """Start a worker on another host, and wait until it has joined."""
        name = self.network[number]
        files = ("--data-dir", str(self.folder / name), "--secret-file", str(self.folder / "head" / "secret"))
        arguments = ("--head", f"{HEAD}:8000", "--name", f"host{number}", *files, *self.arguments)
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
def running_hosts(folder: Path, network: list[str], *arguments: str) -> Iterator[Hosts]:
    """Run a head on this host and a worker on each other one; ``arguments`` are for the workers."""
    ports = ("--port", "0", "--cluster-port", "8000", "--transport-port", "8001")
    head = Sllm("head", *ports, "--host", HEAD, "--data-dir", str(folder / "head"))
    workers: list[Sllm] = []
    try:
        url = head.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        key = (folder / "head" / "admin-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            running = Hosts(folder, network, head, workers, http, arguments)
            for number in range(len(network)):
                running.start_worker(number)
            yield running
    finally:
        for each in (*workers, head):
            each.kill_all()
