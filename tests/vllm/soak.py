"""One machine with a forked vLLM, and a fake engine with a GPU: its processes, files and locks."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
from attrs import define, field
from tests.e2e.cluster import Cluster, eventually

from sllm_actors.testing.fake_engine import fake_engine_argv

from .family import (
    DEPLOYMENT,
    DOCUMENT,
    MODEL,
    Family,
    deploy,
    family_of,
    runs,
    unused_memory,
    wait_for_fork_server,
)

FAKE = "fake:command"
FAKE_DOCUMENT = {
    "model": "fake",
    "backend": "command",
    "num_gpus": 1,
    "backend_config": {"command": [*fake_engine_argv(), "--socket", "$SOCKET", "--model", "$NAME"]},
    "auto_scaling_config": {"min_instances": 1},
}
WITHIN = 180.0
"""Seconds in which everything has to be ready again."""

GPUS = ("0", "1")
LOCKS = Path(tempfile.gettempdir()) / f"sllm-{os.getuid()}-gpus"


@define
class Machine:
    """See the module.

    Attributes:
        found_memory: Shared memory that others had left before.
        lost: Engines that were killed, by the process id of their API server.
        told: What was done, and what came of it.
    """

    cluster: Cluster
    found_memory: frozenset[Path] = field(factory=unused_memory)
    lost: set[int] = field(factory=set)
    told: list[str] = field(factory=list)

    @property
    def run_dir(self) -> Path:
        """Where the worker has sockets and temporary files."""
        sockets = Path(self._instance(DEPLOYMENT)["address"].removeprefix("unix:"))
        return sockets.parent

    def deploy(self) -> None:
        """Begin, when engines can be forked."""
        wait_for_fork_server(self.cluster)
        deploy(self.cluster, DOCUMENT)
        deploy(self.cluster, FAKE_DOCUMENT)

    # ---- whom to kill

    def victims(self) -> dict[str, Callable[[], list[int]]]:
        """Return everybody who can be killed, by name; who is not there at the moment has no process id."""
        return {
            "API server": lambda: self._engine(""),
            "core": lambda: self._engine("VLLM::EngineCore"),
            "worker process": lambda: self._engine("VLLM::Worker"),
            "leash": lambda: self._leash(DEPLOYMENT),
            "engine with a GPU": lambda: self._leader(FAKE),
            "leash with a GPU": lambda: self._leash(FAKE),
            "fork server": self._fork_server,
            "worker node": self._node,
            "leash and worker node": lambda: [*self._leash(DEPLOYMENT), *self._node()],
            "leash with a GPU and worker node": lambda: [*self._leash(FAKE), *self._node()],
            "fork server and API server": lambda: [*self._fork_server(), *self._engine("")],
        }

    def kill(self, name: str) -> bool:
        """Kill somebody; return whether there was anybody."""
        hit = (DEPLOYMENT, FAKE) if "node" in name else (FAKE,) if "GPU" in name else (DEPLOYMENT,)
        pids, leaders = self.victims()[name](), [pid for each in hit for pid in self._leader(each)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if pids and name != "fork server":
            self.lost.update(leaders)
        self.told.append(f"killed {name}: {pids}")
        return bool(pids)

    def _engine(self, title: str) -> list[int]:
        leaders = self._leader(DEPLOYMENT)
        with suppress(psutil.Error):
            below = [child for pid in leaders for child in psutil.Process(pid).children(recursive=True)]
            found = [process.pid for process in below if title in " ".join(process.cmdline())]
            return found if title else leaders
        return []

    def _leash(self, deployment: str) -> list[int]:
        with suppress(psutil.Error):
            leashes = [psutil.Process(pid).ppid() for pid in self._leader(deployment)]
            return [pid for pid in leashes if pid > 1]
        return []

    def _fork_server(self, title: str = "sllm fork server") -> list[int]:
        with suppress(psutil.Error, AssertionError):
            worker = psutil.Process(self.cluster.sllm.node("worker"))
            return [child.pid for child in worker.children() if title in " ".join(child.cmdline())]
        return []

    def _node(self) -> list[int]:
        with suppress(AssertionError):
            return [self.cluster.sllm.node("worker")]
        return []

    def _leader(self, deployment: str) -> list[int]:
        with suppress(StopIteration, httpx2.HTTPError):
            pid = self._instance(deployment)["pid"]
            return [pid] if pid and psutil.pid_exists(pid) else []
        return []

    def _instance(self, deployment: str) -> dict[str, Any]:
        described = self.cluster.describe(deployment) or {"instances": []}
        found: dict[str, Any] = next(iter(described["instances"]))
        return found

    # ---- how it is

    def wait_ready(self) -> Family:
        """Wait until both models answer; return what belongs to vLLM."""
        try:
            eventually(lambda: not any(map(psutil.pid_exists, self.lost)), within=20, what="who was hit ends")
            eventually(self._is_ready, within=WITHIN, what="both are ready")
        except AssertionError:
            self.told += [str(self.cluster.describe(each)) for each in (DEPLOYMENT, FAKE)]
            raise
        family = family_of(self._instance(DEPLOYMENT))
        self.told.append(f"ready: {family.pid}")
        assert self.cluster.ask(model=MODEL)
        assert self.cluster.ask(model="fake")
        return family

    def _is_ready(self) -> bool:
        with suppress(StopIteration, httpx2.HTTPError):
            instances = [self._instance(each) for each in (DEPLOYMENT, FAKE)]
            return all(each["state"] == "ready" and each["pid"] not in self.lost for each in instances)
        return False

    def wait_clean(self) -> None:
        """Wait until nothing is there but what belongs to those that run, or fail and name it."""
        try:
            eventually(lambda: not self.left_over(), within=20, what="nothing is left over")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.left_over()}") from None

    def left_over(self) -> list[object]:
        """Return processes, files and locks that belong to nobody who runs."""
        try:
            return [*self._strangers(), *self._stray_files(), *self._stray_locks()]
        except (psutil.NoSuchProcess, StopIteration, AssertionError, FileNotFoundError) as moving:
            return [moving]

    def _strangers(self) -> list[object]:
        known = {self.cluster.sllm.process.pid, *(pid for pid, _ in self.cluster.sllm.nodes())}
        known.update(self._fork_server(), self._fork_server("sllm leash server"))
        leaders = {self._instance(each)["pid"] for each in (DEPLOYMENT, FAKE)}
        leashes = {psutil.Process(pid).ppid() for pid in leaders}
        mine = str(self.cluster.data_dir).encode(), str(self.run_dir).encode()
        return [
            f"process {process.pid} {process.cmdline()}"
            for process in psutil.process_iter()
            if process.pid not in known | leashes and _session(process.pid) not in leaders
            if runs(process) and any(each in _environment(process.pid) for each in mine)
        ]

    def _stray_files(self) -> list[object]:
        names = {Path(self._instance(each)["address"]).stem for each in (DEPLOYMENT, FAKE)}
        there = [*self.run_dir.glob("*.sock"), *(self.run_dir / "t").iterdir()]
        ours = {"torchinductor_root", "torchinductor_"}
        stray: list[object] = [each for each in there if each.stem not in names | ours]
        return [*stray, *(unused_memory() - self.found_memory)]

    def _stray_locks(self) -> list[object]:
        held = [gpu for gpu in GPUS if is_locked(gpu)]
        return [] if len(held) == 1 else [f"locked GPUs: {held}"]


def is_locked(gpu: str) -> bool:
    """Return whether somebody holds the lock of a GPU."""
    try:
        lock = os.open(LOCKS / f"{gpu}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def deck(rng: random.Random, cards: list[str], count: int) -> list[str]:
    """Return so many of the cards, each of them once before any of them comes again."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(cards, len(cards))
    return drawn[:count]


def _environment(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def _session(pid: int) -> int:
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return -1
