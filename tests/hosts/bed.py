"""A cluster on the hosts of the test bed: a node on each host, started as a person starts it there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from attrs import define, field
from tests.children import keep
from tests.e2e.cluster import DEMO, DEMO_ID, PATIENCE, Sllm, eventually

from .host import DATA, Host
from .network import Network, network_of

PORT = 8343

TWO = {"min_instances": 2, "max_instances": 2}


@define
class Bed:
    """Hosts with a node on each: ``head``, and as many workers ``w1``, … and gateways ``g1``, … as are named.

    Each worker's machine is given one fake GPU, and the demo model wants one: so there is at most one engine
    on a machine at any time.

    Attributes:
        network: The hosts, and what is between them.
        running: The launcher of each node that was started, by its host's name.
        key: The admin key.
    """

    network: Network
    running: dict[str, Sllm] = field(factory=dict)
    key: str = ""
    worker_options: tuple[str, ...] = ("--gpus", "1")
    _clients: dict[str, httpx2.Client] = field(factory=dict, init=False)

    # ---- nodes

    def host(self, name: str) -> Host:
        return self.network.hosts[name]

    def names(self, role: str) -> list[str]:
        """Return the names of the hosts with this first letter: "w" for workers, "g" for gateways."""
        return [name for name in self.network.hosts if name.startswith(role) and name != "head"]

    def others(self, *names: str) -> list[Host]:
        """Return all other hosts than these."""
        return [host for name, host in self.network.hosts.items() if name not in names]

    def start(self, name: str, *more: str, prefix: Sequence[str] = (), joins: bool = True) -> Sllm:
        """Start the node that belongs on a host; wait until it serves, or has joined, if it does."""
        host = self.host(name)
        if name == "head":
            launcher = host.start("head", "--gateways", "0", *more, prefix=prefix)
            says = "head: ready"
        elif name.startswith("g"):
            launcher = host.start(
                "gateway", *self._joining(host), "--host", host.address, *more, prefix=prefix
            )
            says = "OpenAI API"
        else:
            options = ("--name", name, "--fork-servers", "none", *self.worker_options, *more)
            launcher = host.start("worker", *self._joining(host), *options, prefix=prefix)
            says = "joined the head"
        keep(launcher.process)  # whichever test starts it, all tests of a file use it
        if name in self.running:
            self.running[name].kill_all()
        self.running[name] = launcher
        if joins:
            launcher.wait_for(says)
        if name == "head":
            self.key = host.path(f"{DATA}/admin-key").read_text().strip()
        return launcher

    def _joining(self, host: Host) -> tuple[str, ...]:
        """Return the options with which a node joins; the secret is copied as a person copies it."""
        _copy(self.host("head").path(f"{DATA}/secret"), host.path("/tmp/secret"))
        if host.name.startswith("g"):  # so that a client may turn to either gateway with the same key
            _copy(self.host("head").path(f"{DATA}/admin-key"), host.path(f"{DATA}/admin-key"))
        return "--head", f"{self.host('head').address}:8000", "--secret-file", "/tmp/secret"

    def stop(self, name: str) -> None:
        """Stop a node as a service manager does; nothing of it may be left on its host."""
        launcher = self.running.pop(name)
        assert launcher.stop(number=signal.SIGTERM) == 0, launcher.output
        launcher.kill_all()
        left = self.host(name).processes()
        assert not left, f"{name} has left {left}"

    def kill(self, name: str) -> None:
        """Kill all that runs on a host at once, as a power cut does."""
        launcher = self.running.pop(name)
        self.host(name).lose_power()
        launcher.kill_all()

    def node_process(self, name: str) -> int:
        """Return the process of the node of a host, below its launcher."""
        role = "head" if name == "head" else "gateway-0" if name.startswith("g") else "worker"
        return self.running[name].node(role)

    def kill_node(self, name: str) -> None:
        """Kill a node alone: its connections are closed, and its launcher starts it again."""
        os.kill(self.node_process(name), signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind."""
        for client in self._clients.values():
            client.close()
        for launcher in self.running.values():
            launcher.kill_all()

    # ---- what a client sees

    def url(self, gateway: str = "g1") -> str:
        return f"http://{self.host(gateway).address}:{PORT}"

    def http(self, gateway: str = "g1") -> httpx2.Client:
        """Return a client of a gateway, with the admin key."""
        if gateway not in self._clients:
            headers = {"Authorization": f"Bearer {self.key}"}
            url = self.url(gateway)
            self._clients[gateway] = httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
        return self._clients[gateway]

    def status(self, gateway: str = "g1") -> dict[str, Any]:
        """Return what the head says of the cluster, or nothing while it is away."""
        answer = self.http(gateway).get("/status")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def node(self, name: str, gateway: str = "g1") -> dict[str, Any]:
        """Return what the head says of a worker, or nothing while it knows none of that name or is away."""
        return next((node for node in self.status(gateway).get("nodes", ()) if node["name"] == name), {})

    def deploy(self, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Deploy the demo model, by default twice, and wait until it is ready."""
        whole = {
            "model": DEMO,
            "backend": "llamacpp",
            "source": f"demo:{DEMO}",
            "num_gpus": 1,
            "backend_config": {"n_ctx": 512},
            "auto_scaling_config": TWO,
            **(document or {}),
        }
        answer = self.http().post("/deployments", json=whole)
        assert answer.status_code == 200, answer.text
        return self.wait_ready()

    def describe(self, gateway: str = "g1") -> dict[str, Any]:
        """Return what the head says of the demo model, or nothing when it knows none or is away."""
        answer = self.http(gateway).get(f"/deployments/{DEMO_ID}")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def replicas(self, gateway: str = "g1") -> dict[str, str]:
        """Return the states of the demo model's replicas, by the name of their worker."""
        return {each["node_name"]: each["state"] for each in self.describe(gateway).get("instances", ())}

    def wait_ready(self, *, count: int = 2, gateway: str = "g1", within: float = PATIENCE) -> dict[str, Any]:
        """Wait until so many replicas are ready and no other is there; return the description."""

        def ready() -> dict[str, Any] | None:
            described = self.describe(gateway)
            states = [each["state"] for each in described.get("instances", ())]
            return described if states == count * ["ready"] else None

        try:
            return eventually(ready, within=within, what=f"{count} replicas are ready")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.describe(gateway)}") from None

    def chat(self, gateway: str = "g1", **more: Any) -> httpx2.Response:
        body = {"model": DEMO, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **more}
        return self.http(gateway).post("/v1/chat/completions", json=body)


def _copy(source: Path, target: Path) -> None:
    """Copy a file that nobody else may read, if it is not there."""
    if not target.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.touch(mode=0o600)
        target.write_text(source.read_text())


@contextmanager
def bed_of(folder: Path, *names: str, options: tuple[str, ...] = ("--gpus", "1")) -> Iterator[Bed]:
    """Make hosts with a running node on each.

    Args:
        folder: Where their files are.
        names: Their names: ``head`` first; those of workers begin with w, those of gateways with g.
        options: Further options of the workers.
    """
    with network_of(folder, *names) as network:
        bed = Bed(network, worker_options=options)
        try:
            for name in names:
                bed.start(name)
            yield bed
        finally:
            bed.close()
