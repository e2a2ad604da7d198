"""Hosts that run containers: what a person does there with ``docker run``, and what clients see of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import yaml
from attrs import define, field
from tests.e2e.cluster import PATIENCE, eventually
from tests.hosts.network import Network

from sllm_actors.models.demo_model import demo_file

from .podman import LIMITS, Podman

SECRET = "a secret for the machines of a test"
MODEL = "small"
ROOT = Path(__file__).parents[2]
ULIMITS = tuple(f"--ulimit={name}={value}" for name, value in LIMITS.items())
"""Docker's interface does not know the limits that podman gives."""

LOCKED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")

Run = Callable[..., str]


@define
class Machines:
    """A host for the head and two for workers.

    Attributes:
        folder: Where the models are, on each host.
        run: Runs ``podman``, or ``docker`` in its place.
        limits: Options of ``run`` that the machine needs.
        asked: The container whose gateway is asked for the state of the cluster.
    """

    podman: Podman
    network: Network
    folder: Path
    run: Run = field()
    limits: tuple[str, ...] = ()
    asked: str = "head"
    _clients: list[httpx2.Client] = field(factory=list, init=False)

    @run.default
    def _podman(self) -> Run:
        return self.podman

    def __attrs_post_init__(self) -> None:
        models = self.folder / "models"
        models.mkdir()
        shutil.copy(demo_file("smollm2-135m"), models / "small.gguf")
        models.chmod(0o755)

    def address(self, host: str) -> str:
        return self.network.hosts[host].address

    def on(self, host: str) -> str:
        """Return the option that puts a container on a host."""
        return f"--network=ns:/run/netns/{self.network.hosts[host].namespace}"

    def start(
        self,
        name: str,
        image: str,
        *arguments: str,
        host: str,
        options: Sequence[str] = LOCKED,
        **variables: str,
    ) -> None:
        """Start a container with a root that is read only, and the state of its name in a volume."""
        told = {"SLLM_CLUSTER_SECRET": SECRET, **variables}
        self.run(
            "run",
            "--detach",
            f"--name={name}",
            f"--hostname={name}",
            self.on(host),
            *self.limits,
            *options,
            f"--volume={name}:/var/lib/sllm",
            f"--volume={self.folder / 'models'}:/models:ro",
            *(f"--env={key}={value}" for key, value in told.items()),
            image,
            *arguments,
        )

    def start_head(self, name: str = "head", image: str = "sllm:head", **more: Any) -> None:
        self.start(name, image, host="head", **more)
        self.wait_for(name, "OpenAI API: ")

    def start_worker(self, host: str, image: str = "sllm:worker-cpu", **more: Any) -> None:
        """Start a worker that has room for one engine."""
        head = f"{self.address('head')}:8000"
        self.start(host, image, "--slots=1", host=host, PYLET_HEAD=head, **more)
        self.wait_for(host, "joined the head")

    def start_gateway(self, host: str, name: str = "gateway", image: str = "sllm:head") -> None:
        """Start a gateway as the head of an older cluster was started."""
        endpoint = f"http://{self.address('head')}:8000"
        self.start(name, image, host=host, MODE="HEAD", PYLET_ENDPOINT=endpoint)
        self.wait_for(name, "OpenAI API: ")

    def stop(self, name: str) -> None:
        """Stop a container, which ends by itself in the time that it is given."""
        self.run("stop", "-t", "15", name)
        assert self.state(name)["ExitCode"] == 0, self.logs(name)
        assert self.logs(name).splitlines()[-1] == "stopped"

    def replace(self, name: str) -> None:
        """Stop a container in order, and remove it; its volume stays."""
        self.stop(name)
        self.run("rm", name)

    def ready(self) -> dict[str, float]:
        """Return since when engines are ready, by the containers that they are in.

        That tells an engine from its successor: in a new container, processes are counted from 1 again. There
        are none while a gateway that was just started has no link to the head.
        """
        ask = ("podman", "exec", self.asked, "sllm", "status", f"{MODEL}:llamacpp", "--json")
        told = self.podman.run(*ask, check=False)
        if "the head cannot be reached" in told.stderr:
            return {}
        instances = json.loads(told.stdout)["instances"]
        return {each["node_name"]: each["since"] for each in instances if each["state"] == "ready"}

    def wait_for_both(self, *, killed: float = 0.0) -> dict[str, float]:
        """Wait until an engine serves on each worker, none of them the one that was killed; return them."""

        def both() -> dict[str, float] | None:
            ready = self.ready()
            return ready if set(ready) == {"w1", "w2"} and killed not in ready.values() else None

        return eventually(both, what="both workers serve", every=0.5)

    def nodes(self) -> dict[str, str]:
        """Return the ids of the nodes by their names."""
        answer = json.loads(self.sllm("status", "--nodes", "--json", of=self.asked))
        return {each["name"]: each["id"] for each in answer["nodes"]}

    def logs(self, name: str) -> str:
        return self.run("logs", name)

    def wait_for(self, name: str, line: str, *, times: int = 1) -> None:
        """Wait until a container has said it so often, in all its lives."""

        def said() -> bool:
            state = self.state(name)
            assert state["Status"] in ("running", "created", "initialized"), f"{state}: {self.logs(name)}"
            return self.podman("logs", name).count(line) >= times

        eventually(said, what=f"{name}: {line}", every=0.2)

    def state(self, name: str) -> dict[str, Any]:
        found = self.podman.inspect(name)["State"]
        assert isinstance(found, dict)
        return found

    def sllm(self, *arguments: str, of: str = "head") -> str:
        """Run a command of sllm in a container, as a person does with ``docker exec``."""
        return self.run("exec", of, "sllm", *arguments)

    def deploy(self, *more: str, of: str = "head") -> None:
        document = ("--backend=llamacpp", "--source=/models/small.gguf")
        self.sllm("deploy", MODEL, *document, "--wait", *more, of=of)

    def client(self, name: str = "head", *, host: str = "head") -> httpx2.Client:
        """Return a client of the gateway in a container, with the admin key that it made."""
        key = self.podman("exec", name, "cat", "admin-key")
        made = httpx2.Client(
            base_url=f"http://{self.address(host)}:8343",
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE,
            trust_env=False,
        )
        self._clients.append(made)
        return made

    def compose(self, file: str, host: str, *arguments: str, **variables: str) -> str:
        """Run podman-compose with one of the repository's files, for the network of a host."""
        override = self.folder / f"{host}.yaml"
        own = {"network_mode": self.on(host).removeprefix("--network="), "extra_hosts": ["head:127.0.0.1"]}
        services = yaml.safe_load((ROOT / "docker" / file).read_text())["services"]
        no_ports = ", ports: !reset []"
        lines = [
            f"  {name}: {json.dumps(own)[:-1]}{no_ports if 'ports' in service else ''}}}"
            for name, service in services.items()
        ]
        override.write_text("\n".join(["services:", *lines, ""]))
        return self.podman.run(
            Path(sys.executable).parent / "podman-compose",
            f"--file={ROOT / 'docker' / file}",
            f"--file={override}",
            "--profile=cpu",
            *arguments,
            env={"MODEL_FOLDER": str(self.folder / "models"), **variables},
        ).stdout.strip()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.podman.remove_containers()


def chat(client: httpx2.Client, **more: Any) -> httpx2.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **more}
    return client.post("/v1/chat/completions", json=body)


def docker(address: str) -> Run:
    """Return what runs Docker's own client against a service."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": address},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run
