"""A cluster whose nodes are started one by one, so that each can be killed, kept away and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx2
from tests.children import keep
from tests.ports import free_port

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import PATIENCE, Sllm, eventually

LOOPBACK = ("--host", "127.0.0.1")


def engine(*options: str, **more: Any) -> dict[str, Any]:
    """Return the engine's part of a deployment document: a fake engine with these options."""
    command = fake_engine_argv("--socket", "$SOCKET", *options)
    return {"backend": "command", "backend_config": {"command": command}, "drain_timeout": 5, **more}


class Machines:
    """A head without gateways, one gateway, and workers, each with a launcher of its own.

    The gateway goes on when the head is away. Workers have fake GPUs where they are given some.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, Sllm] = {}
        self._ports = [str(free_port()) for _ in range(3)]
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self.http = httpx2.Client(base_url=self.url, timeout=60.0, trust_env=False)

    # ---- nodes

    def start_head(self, *arguments: str) -> Sllm:
        """Start the head, always with the same ports and data directory; wait until it serves."""
        ports = ("--cluster-port", self._ports[1], "--transport-port", self._ports[2])
        head = self._start("head", "head", "--gateways", "0", *ports, *arguments)
        head.wait_for("head: ready")
        return head

    def start_gateway(self, *arguments: str) -> Sllm:
        """Start the gateway; wait until it serves."""
        ports = ("--port", self._ports[0])
        gateway = self._start("gateway", "gateway", *self._joining, *ports, *arguments)
        gateway.wait_for("OpenAI API")
        return gateway

    def start_worker(self, name: str, *arguments: str, joins: bool = True) -> Sllm:
        """Start a worker, which may run commands; wait until it has joined, if it does."""
        more = ("--port", "0", "--allow-command", "--fork-servers", "none", *arguments)
        worker = self._start(name, "worker", *self._joining, "--name", name, *more)
        if joins:
            worker.wait_for("joined the head")
            eventually(lambda: self.node(name).get("state") == "up", what=f"{name} is up")
        return worker

    def kill(self, name: str) -> None:
        """Kill a node and its launcher, as a power cut does; engines of a worker end with it.

        It is over when the head has missed a worker.
        """
        launcher = self.running.pop(name)
        node = launcher.node("head" if name == "head" else "gateway-0" if name == "gateway" else "worker")
        launcher.process.send_signal(signal.SIGSTOP)  # else it would start the node again
        os.kill(node, signal.SIGKILL)
        launcher.kill_all()
        if name not in ("head", "gateway"):
            eventually(lambda: self.node(name).get("state") != "up", what=f"{name} is missed")

    def directory(self, name: str) -> Path:
        """Return the data directory of a launcher."""
        return self.folder / name

    def close(self) -> None:
        """Leave nothing behind."""
        self.http.close()
        for launcher in self.running.values():
            if launcher.process.poll() is None:
                launcher.look()
        for launcher in reversed(self.running.values()):
            launcher.kill_all()

    @property
    def _joining(self) -> tuple[str, ...]:
        secret = str(self.directory("head") / "secret")
        return ("--head", f"127.0.0.1:{self._ports[1]}", "--secret-file", secret)

    def _start(self, name: str, *arguments: str) -> Sllm:
        launcher = Sllm(*arguments, "--data-dir", str(self.directory(name)), *LOOPBACK)
        keep(launcher.process)
        self.running[name] = launcher
        return launcher

    # ---- what a client sees

    def node(self, name: str) -> dict[str, Any]:
        """Return what the head says of a worker, or nothing while it knows none of that name or is away."""
        answer = self.http.get("/status")
        nodes = answer.json()["nodes"] if answer.status_code == 200 else []
        return next((node for node in nodes if node["name"] == name), {})

    def deploy(self, model: str, document: dict[str, Any], *, ready: bool = True) -> dict[str, Any]:
        """Deploy, wait until all of its replicas are ready, and return its description."""
        answer = self.http.post("/deployments", json={"model": model, **document})
        assert answer.status_code == 200, answer.text
        return self.wait_ready(model) if ready else self.describe(model)

    def describe(self, model: str) -> dict[str, Any]:
        """Return what the head says of a deployment, or nothing when it knows none or is away."""
        answer = self.http.get(f"/deployments/{model}:command")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def wait_ready(self, model: str, *, on: Collection[str] = (), within: float = PATIENCE) -> dict[str, Any]:
        """Wait until as many replicas are ready as are wanted, and no other is there; return its description.

        Args:
            model: The deployment's model.
            on: The names of their workers, if it matters.
            within: Seconds.
        """

        def ready() -> dict[str, Any] | None:
            described = self.describe(model)
            states = {each["state"] for each in described.get("instances", ())}
            complete = len(described.get("instances", ())) == described.get("desired_replicas")
            there = states == {"ready"} and complete and self.workers_of(described) >= set(on)
            return described if there else None

        try:
            return eventually(ready, within=within, what=f"{model} is ready on {on or 'any worker'}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.describe(model)}") from None

    def delete(self, model: str) -> None:
        """Delete a deployment, and wait until nothing of it is left."""
        assert self.http.delete(f"/deployments/{model}:command").is_success
        eventually(lambda: not self.describe(model), what=f"{model} is gone")

    @staticmethod
    def workers_of(described: dict[str, Any]) -> set[str]:
        """Return the names of the workers that have replicas."""
        return {each["node_name"] for each in described["instances"]}

    @staticmethod
    def pids_of(described: dict[str, Any]) -> set[int]:
        """Return the process ids of the engines."""
        return {each["pid"] for each in described["instances"]}
