"""Whole serving systems of others, and ours: how each is started, given a model, and robbed of its worker."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

import httpx2
import psutil

from bench.cold_suite.cluster import Cluster, open_cluster, wait_for
from bench.gateway_suite.system import free_port, program
from bench.harness.process_tree import descendants
from bench.swap_suite.first_come import model_file

from .gateways import ENVIRONMENTS, ROOT

MODEL: Final = "smol"
SERVER: Final = ROOT / "bench" / "peers" / "llamacpp_http.py"
SOON: Final = 180.0
SETTINGS: Final = {"n_ctx": 8192, "n_parallel": 4}


class CannotDo(Exception):
    """A system has no way to do that; the text says what happens instead."""


class Serving(Protocol):
    """A serving system that runs.

    Attributes:
        pids: Its processes' roots.
        version: Of what runs.
    """

    pids: tuple[int, ...]
    version: str

    def engines(self) -> list[psutil.Process]:
        """Return the processes of its engines that run now."""

    def deploy(self) -> None:
        """Ask for the demo model on llama.cpp; returns when that was accepted."""

    def url(self) -> str | None:
        """Return where the model is asked, or None as long as that is not known."""

    def delete(self) -> None:
        """Delete the model, and return when no process of it is left."""

    def kill_worker(self) -> None:
        """Kill the process that looks after the engine on its machine."""


class Ours:
    """``sllm up``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.pids: tuple[int, ...] = (cluster.pid,)
        self.version = version("sllm-actors")

    def engines(self) -> list[psutil.Process]:
        """Return them by the program that they run."""
        return engines(self.pids)

    def deploy(self) -> None:
        """Deploy it."""
        self._cluster.deploy(
            {
                "model": MODEL,
                "backend": "llamacpp",
                "source": "demo:smollm2-135m",
                "backend_config": SETTINGS,
                "auto_scaling_config": {"min_instances": 1},
            }
        )

    def url(self) -> str | None:
        """Return the gateway's."""
        return self._cluster.url

    def delete(self) -> None:
        """Delete it."""
        self._cluster.delete(f"{MODEL}:llamacpp")

    def kill_worker(self) -> None:
        """Kill the worker's process."""
        kill_one(self._cluster.pid, "sllm worker ")


class Pylet:
    """Pylet's head and one worker, which run llama.cpp's own server as the reference runs ``vllm serve``."""

    def __init__(self, http: httpx2.Client, head: int, worker: int, release: str) -> None:
        self._http = http
        self._worker = worker
        self._instance = ""
        self.pids: tuple[int, ...] = (head, worker)
        self.version = release

    def engines(self) -> list[psutil.Process]:
        """Return them by the program that they run."""
        return engines(self.pids)

    def deploy(self) -> None:
        """Submit the server as an instance."""
        command = [sys.executable, str(SERVER), str(model_file()), MODEL]
        wanted = {"cpu_cores": 1, "gpu_units": 0, "memory_mb": 512}
        answer = self._http.post(
            "/instances", json={"command": shlex.join(command), "resource_requirements": wanted}
        )
        self._instance = str(answer.raise_for_status().json()["instance_id"])

    def url(self) -> str | None:
        """Return the instance's own address: there is no gateway before it.

        Raises:
            CannotDo: The instance has ended.
        """
        if self._state() == "FAILED":
            raise CannotDo("its instance ended by itself, and Pylet does not start it again")
        answer = self._http.get(f"/instances/{self._instance}/endpoint")
        return f"http://{answer.json()['endpoint']}" if answer.is_success else None

    def delete(self) -> None:
        """Cancel the instance, and wait until it has ended."""
        self._http.post(f"/instances/{self._instance}/cancel").raise_for_status()
        wait_for(
            lambda: self._state() not in ("PENDING", "ASSIGNED", "RUNNING"),
            within=SOON,
            what="the instance has ended",
        )

    def kill_worker(self) -> None:
        """Kill the worker's process; nothing of Pylet starts another one."""
        with suppress(ProcessLookupError):
            os.kill(self._worker, signal.SIGKILL)

    def _state(self) -> str:
        return str(self._http.get(f"/instances/{self._instance}").raise_for_status().json()["status"])


class LlamaCpp:
    """llama.cpp's own server, started by hand: what the engine takes by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._stack: Any = None
        self.pids: tuple[int, ...] = ()
        self.version = version("xllamacpp")

    def engines(self) -> list[psutil.Process]:
        """Return them by the program that they run."""
        return engines(self.pids)

    def deploy(self) -> None:
        """Start it."""
        command = [sys.executable, str(SERVER), str(model_file()), MODEL, str(self._port)]
        self._stack = program(command, self._folder / "server.log")
        self.pids = (self._stack.__enter__().pid,)

    def url(self) -> str | None:
        """Return its address."""
        return f"http://127.0.0.1:{self._port}"

    def delete(self) -> None:
        """End it."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(None, None, None)

    def kill_worker(self) -> None:
        """Refuse: nobody looks after it."""
        raise CannotDo("there is no worker: nobody starts it again")


@contextmanager
def open_sllm(folder: Path) -> Iterator[Serving]:
    """Run ``sllm up``."""
    with open_cluster(folder, "--fork-servers", "none") as cluster:
        yield Ours(cluster)


@contextmanager
def open_llamacpp(folder: Path) -> Iterator[Serving]:
    """Run nothing yet: the server begins with its model."""
    folder.mkdir(parents=True)
    server = LlamaCpp(folder)
    try:
        yield server
    finally:
        server.delete()


@contextmanager
def open_pylet(folder: Path) -> Iterator[Serving]:
    """Run a head and a worker of Pylet, with a home of their own.

    Raises:
        CannotDo: It is not installed.
    """
    command = ENVIRONMENTS / "pylet" / "bin" / "pylet"
    if not command.exists():
        raise CannotDo('it is not installed: run `make bench-peers PEERS="pylet"`')
    # It finds the program that keeps its instances' output, without which these end, on the path.
    home = {"HOME": str(folder), "PATH": f"{command.parent}:{os.environ['PATH']}"}
    port = free_port()
    resources = ("--cpu-cores", "2", "--gpu-units", "0", "--memory-mb", "4096")
    head = [str(command), "start", "--port", str(port)]
    worker = [str(command), "start", "--head", f"127.0.0.1:{port}", "--port", str(free_port()), *resources]
    with (
        program(head, folder / "head.log", home) as leader,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http,
    ):
        wait_for(lambda: workers(http) is not None, within=SOON, what="Pylet's head answers")
        with program(worker, folder / "worker.log", home) as keeper:
            wait_for(lambda: workers(http), within=SOON, what="Pylet's worker has joined")
            family: list[psutil.Process] = []
            try:
                yield Pylet(http, leader.pid, keeper.pid, "0.5.0")
            finally:
                family = descendants(keeper.pid)
                for each in (*family, *orphans(folder)):
                    with suppress(psutil.NoSuchProcess):
                        each.kill()


def workers(http: httpx2.Client) -> list[Any] | None:
    """Return the workers that a Pylet head knows; None as long as it does not answer."""
    try:
        answer = http.get("/workers")
    except httpx2.TransportError:
        return None
    return list(answer.json()) if answer.is_success else None


def orphans(home: Path) -> list[psutil.Process]:
    """Return the processes whose home is that folder: those of a killed worker have nobody above them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == str(home):
                found.append(process)
    return found


def engines(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the engines among the descendants of these processes: all run the same program."""
    found = []
    for each in (each for pid in pids for each in descendants(pid)):
        with suppress(psutil.NoSuchProcess):
            if any("llamacpp_server" in part for part in each.cmdline()):
                found.append(each)
    return found


def lives(process: psutil.Process) -> bool:
    """Return whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_one(pid: int, title: str) -> None:
    """Kill the process below another whose title begins so.

    Raises:
        CannotDo: There is none.
    """
    for each in descendants(pid):
        with suppress(psutil.NoSuchProcess):
            if " ".join(each.cmdline()).startswith(title):
                each.kill()
                return
    raise CannotDo(f"no process is titled {title!r}")
