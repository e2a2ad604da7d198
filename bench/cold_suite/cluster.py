"""A cluster of one machine, as ``sllm up`` starts it, and what a person does with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from bench.harness.process_tree import TreeMeter, end

T = TypeVar("T")

LOOK = 0.02
"""Seconds between two looks at what the cluster says of itself."""

PORTS = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")


class ClusterFailed(Exception):
    """The cluster did not do what it was asked for; the text says why."""


class Cluster:
    """A running ``sllm up``.

    Attributes:
        data_dir: Its data directory.
        url: Where its OpenAI API is, without ``/v1``.
        pid: The process number of ``sllm up``; 0 where there is none.
    """

    def __init__(
        self, data_dir: Path, url: str, http: httpx2.Client, cpu: TreeMeter | None = None, pid: int = 0
    ) -> None:
        self.data_dir = data_dir
        self.url = url
        self.pid = pid
        self._http = http
        self._cpu = cpu

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes, engines too, have used so far."""
        if self._cpu is None:
            return 0.0
        self._cpu.look()
        return self._cpu.seconds

    def deploy(self, document: dict[str, Any]) -> str:
        """Ask for a deployment, and return its id at once."""
        response = self._http.post("/deployments", json=document)
        if response.is_error:
            raise ClusterFailed(f"it was not deployed: {response.text}")
        return f"{document['model']}:{document['backend']}"

    def update(self, deployment: str, changes: dict[str, Any]) -> None:
        """Change settings of a deployment."""
        response = self._http.patch(f"/deployments/{deployment}", json=changes)
        if response.is_error:
            raise ClusterFailed(f"it was not updated: {response.text}")

    def create_key(self, name: str, share: float) -> str:
        """Make an API key with a share, and return it."""
        response = self._http.post("/keys", json={"name": name, "share": share})
        if response.is_error:
            raise ClusterFailed(f"there is no key {name}: {response.text}")
        key: str = response.json()["key"]
        return key

    def deploy_by_command(self, document: dict[str, Any]) -> str:
        """Deploy with ``sllm deploy``, which ends when the deployment is recorded; return its id."""
        options = [part for key, value in document.items() for part in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "sllm_actors", "deploy", *options]
        env = os.environ | {"LLM_SERVER_URL": self.url, "SLLM_DATA_DIR": str(self.data_dir)}
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise ClusterFailed(f"it was not deployed: {_last(done.stderr.splitlines())}")
        return f"{document['model']}:{document['backend']}"

    def wait_ready(self, deployment: str, *, within: float) -> dict[str, Any]:
        """Wait until a deployment answers; return its ready instance."""

        def ready() -> dict[str, Any] | None:
            described = self._http.get(f"/deployments/{deployment}").raise_for_status().json()
            if described["state"] in ("failed", "crash_loop"):
                raise ClusterFailed(f"{deployment} failed: {described['detail']}")
            instances: list[dict[str, Any]] = described["instances"]
            return next((each for each in instances if each["state"] == "ready"), None)

        return wait_for(ready, within=within, what=f"{deployment} is ready")

    def describe(self, deployment: str) -> dict[str, Any]:
        """Return what the head says of a deployment."""
        described: dict[str, Any] = self._http.get(f"/deployments/{deployment}").raise_for_status().json()
        return described

    def nodes(self) -> list[dict[str, Any]]:
        """Return what the head says of each node."""
        nodes: list[dict[str, Any]] = self._http.get("/nodes").raise_for_status().json()["nodes"]
        return nodes

    def rest(self, deployment: str, *, within: float = 60.0) -> None:
        """Unload a deployment whose ``min_instances`` is 0, and wait until nothing of it runs."""

        def unloaded() -> bool:
            response = self._http.post(f"/deployments/{deployment}/unload")
            in_use = response.status_code == 409  # the head has not heard yet that the last request is over
            return not in_use and response.raise_for_status().is_success

        def rests() -> bool:
            described = self.describe(deployment)
            return described["state"] == "idle" and not described["instances"]

        wait_for(unloaded, within=within, what=f"{deployment} is unloaded")
        wait_for(rests, within=within, what=f"{deployment} rests")

    def delete(self, deployment: str, *, within: float = 60.0) -> None:
        """Delete a deployment, and wait until nothing of it is left."""
        self._http.delete(f"/deployments/{deployment}").raise_for_status()
        wait_for(
            lambda: self._http.get(f"/deployments/{deployment}").status_code == 404,
            within=within,
            what=f"{deployment} is gone",
        )

    def warm(self, backend: str) -> dict[str, Any]:
        """Return what the worker says of its fork server; empty where it keeps none."""
        reports: list[dict[str, Any]] = [
            report for node in self.nodes() for report in node["fork_servers"] if report["backend"] == backend
        ]
        return reports[0] if reports else {}

    def stream_tokens(self, model: str, count: int) -> Iterator[str]:
        """See ``stream_tokens``."""
        return stream_tokens(self._http, model, count)


@contextmanager
def open_cluster(data_dir: Path, *arguments: str) -> Iterator[Cluster]:
    """Run ``sllm up`` in a data directory of its own; no process of it is left at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    output = data_dir / "up.log"
    command = [sys.executable, "-m", "sllm_actors", "up", "--data-dir", str(data_dir), *PORTS, *arguments]
    with output.open("w") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url = wait_for(lambda: _address(process, output), within=60, what="the cluster serves")
        with httpx2.Client(base_url=url, timeout=120, trust_env=False) as http:
            wait_for(lambda: http.get("/status").is_success, within=60, what="the head answers")
            yield Cluster(data_dir, url, http, TreeMeter(process.pid), process.pid)
    finally:
        end(process, within=60)


def stream_tokens(http: httpx2.Client, model: str, count: int) -> Iterator[str]:
    """Ask a server for a completion of so many tokens, and yield its pieces as they come."""
    body = {
        "model": model,
        "prompt": "Once upon a time",
        "max_tokens": count,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }
    with http.stream("POST", "/v1/completions", json=body) as response:
        if response.is_error:
            raise ClusterFailed(f"no completion came: {response.read().decode()}")
        for line in response.iter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))["choices"][0]["text"]


def wait_for(look: Callable[[], T | None], *, within: float, what: str, pause: float = LOOK) -> T:
    """Return the first true result.

    Raises:
        ClusterFailed: None came in time.
    """
    deadline = time.monotonic() + within
    while not (result := look()):
        if time.monotonic() > deadline:
            raise ClusterFailed(f"not within {within:g} s: {what}")
        time.sleep(pause)
    return result


def _address(process: subprocess.Popen[bytes], output: Path) -> str | None:
    said = output.read_text()
    if process.poll() is not None:
        raise ClusterFailed(f"sllm up ended with status {process.returncode}: {_last(said.splitlines())}")
    found = re.search(r"OpenAI API: (http://\S+)/v1", said)
    return found[1] if found else None


def _last(lines: Sequence[str]) -> str:
    return lines[-1] if lines else "it said nothing"
