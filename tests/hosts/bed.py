"""A cluster on the hosts of the test bed: a node on each host, started as a person starts it there."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from attrs import define, field
from tests.children import keep
from tests.e2e.cluster import DEMO, PATIENCE, Sllm, eventually

from .host import DATA, ROOT, Host
from .network import Network, network_of

PORT = 8343

PLAYED_GPU = {"PLAYED_GPU": "/tmp/held", "PYTHONPATH": f"{ROOT / 'tests/bench/played_gpu'}:{ROOT}"}
"""What a worker has in its environment to find a GPU with memory."""

TWO = {"min_instances": 2, "max_instances": 2}


@define
class Bed:
    """Hosts with a node on each: ``head``, and as many workers ``w1``, … and gateways ``g1``, … as are named.

    Each worker's machine is given some GPUs that are only a number, or one with memory that is played; each
    replica wants one, or a share of its memory. Hosts of other names run no node.

    Attributes:
        network: The hosts, and what is between them.
        running: The launcher of each node that was started, by its host's name.
        key: The admin key.
        gpus: How many GPUs each worker has.
        gpu_memory: Bytes of the GPU of each worker, which is played; 0: they are only a number.
        options: Further options of nodes, by the names of their hosts.
    """

    network: Network
    running: dict[str, Sllm] = field(factory=dict)
    key: str = ""
    gpus: int = 1
    gpu_memory: int = 0
    options: dict[str, tuple[str, ...]] = field(factory=dict)
    _clients: dict[str, httpx2.Client] = field(factory=dict, init=False)

    # ---- nodes

    def host(self, name: str) -> Host:
        return self.network.hosts[name]

    def names(self, role: str) -> list[str]:
        """Return the names of the hosts with this first letter: "w" for workers, "g" for gateways."""
        return [name for name in self.network.hosts if name.startswith(role)]

    def others(self, *names: str) -> list[Host]:
        """Return all other hosts than these."""
        return [host for name, host in self.network.hosts.items() if name not in names]

    def start(
        self,
        name: str,
        *more: str,
        prefix: Sequence[str] = (),
        env: dict[str, str] | None = None,
        joins: bool = True,
    ) -> Sllm:
        """Start the node that belongs on a host.

        Args:
            name: The host's name.
            more: Further options of the command.
            prefix: What runs the command.
            env: What its environment has more.
            joins: Wait until it serves, or has joined.
        """
        host, more = self.host(name), (*self.options.get(name, ()), *more)
        command: tuple[str, ...]
        if name == "head":
            command, says = ("head", "--gateways", "0"), "head: ready"
        elif name.startswith("g"):
            command, says = ("gateway", *self.joining(host), "--host", host.address), "OpenAI API"
        else:
            options = ("--fork-servers", "none", "--gpus", str(self.gpus))
            command, says = ("worker", *self.joining(host), "--name", name, *options), "joined the head"
            env = {**(PLAYED_GPU if self.gpu_memory else {}), **(env or {})}
        launcher = host.start(*command, *more, prefix=prefix, env=env)
        keep(launcher.process)  # whichever test starts it, all tests of a file use it
        self.running[name] = launcher
        if joins:
            launcher.wait_for(says)
        if name == "head":
            self.key = host.path(f"{DATA}/admin-key").read_text().strip()
        return launcher

    def joining(self, host: Host) -> tuple[str, ...]:
        """Return the options with which a node joins; the secret is copied as a person copies it."""
        _copy(self.host("head").path(f"{DATA}/secret"), host.path("/tmp/secret"))
        return "--head", f"{self.host('head').address}:8000", "--secret-file", "/tmp/secret"

    def stop(self, name: str) -> None:
        """Stop a node as a service manager does; nothing of it may be left on its host."""
        launcher = self.running.pop(name)
        assert launcher.stop(number=signal.SIGTERM) == 0, launcher.output
        launcher.kill_all()
        left = self.host(name).processes()
        assert not left, f"{name} has left {left}"
        assert "Traceback" not in launcher.output

    def kill(self, name: str) -> float:
        """Kill all that runs on a host at once, as a power cut does; return when."""
        launcher = self.running.pop(name)
        began = self.host(name).lose_power()
        launcher.kill_all()
        return began

    def node_process(self, name: str) -> int:
        """Return the process of the node of a host, below its launcher."""
        role = "head" if name == "head" else "gateway-0" if name.startswith("g") else "worker"
        return self.running[name].node(role)

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
        """Deploy as ``submit`` does, and wait until all replicas are ready; return the description."""
        whole = self.submit(document)
        count = whole["auto_scaling_config"]["min_instances"]
        return self.wait_ready(count=count, model=whole["model"])

    def submit(self, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Deploy the demo model, by default twice; return the whole document.

        Args:
            document: What of the deployment is otherwise.
        """
        whole: dict[str, Any] = {
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
        return whole

    def delete(self, model: str) -> None:
        """Delete a deployment."""
        assert self.http().delete(f"/deployments/{model}:llamacpp").is_success

    def describe(self, gateway: str = "g1", *, model: str = DEMO) -> dict[str, Any]:
        """Return what the head says of a model, or nothing when it knows none of that name or is away."""
        answer = self.http(gateway).get(f"/deployments/{model}:llamacpp")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def replicas(self, gateway: str = "g1") -> dict[str, str]:
        """Return the states of the demo model's replicas, by the name of their worker."""
        return {each["node_name"]: each["state"] for each in self.describe(gateway).get("instances", ())}

    def wait_ready(self, *, count: int = 2, gateway: str = "g1", model: str = DEMO) -> dict[str, Any]:
        """Wait until so many replicas are ready and no other is there; return the description."""

        def ready() -> dict[str, Any] | None:
            described = self.describe(gateway, model=model)
            states = [each["state"] for each in described.get("instances", ())]
            return described if states == count * ["ready"] else None

        try:
            return eventually(ready, within=1.5 * PATIENCE, what=f"{count} replicas of {model} are ready")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.describe(gateway, model=model)}") from None

    def wait_whole(self, *, count: int = 2) -> None:
        """Wait until all nodes are there, and so many replicas and no other."""
        for name in ("head", *self.names("w"), *self.names("g")):
            if name not in self.running:
                self.start(name)
        workers = self.names("w")
        for gateway in self.names("g"):
            for name in workers:
                self.wait_up(name, gateway)
            self.wait_ready(count=count, gateway=gateway)

    def wait_up(self, name: str, gateway: str = "g1") -> None:
        """Wait until a gateway says of a worker that it is up."""
        eventually(
            lambda: self.node(name, gateway).get("state") == "up", what=f"{name} is up, says {gateway}"
        )

    def engines(self, *, count: int = 2) -> set[int]:
        """Return the processes of the demo model's replicas, once so many are ready."""
        return {each["pid"] for each in self.wait_ready(count=count)["instances"]}

    def sllm(self, *arguments: str) -> str:
        """Run a command of ``sllm`` on the head's machine, which has to succeed; return what it says."""
        env = {"LLM_SERVER_URL": self.url(), "SLLM_API_KEY": self.key}
        ended = self.host("head").sllm(*arguments, env=env)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

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
def bed_of(folder: Path, *names: str, starts: bool = True, **more: Any) -> Iterator[Bed]:
    """Make hosts with a running node on each.

    Args:
        folder: Where their files are.
        names: Their names, see ``Bed``.
        starts: Whether their nodes are started.
        more: Attributes of the ``Bed``.
    """
    with network_of(folder, *names) as network:
        bed = Bed(network, **more)
        try:
            for name in names:
                if starts and (name == "head" or name[0] in "wg"):
                    bed.start(name)
            yield bed
        finally:
            bed.close()
