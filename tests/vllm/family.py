"""Everything that belongs to one running vLLM: its processes, and what they keep outside themselves."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
from attrs import frozen
from tests.e2e.cluster import Cluster, eventually

from sllm_actors.engines.environment import MARKER

MODEL = "smol"
DEPLOYMENT = f"{MODEL}:vllm"
DOCUMENT = {
    "model": MODEL,
    "backend": "vllm",
    "source": "demo:smollm2-135m",
    "num_gpus": 0,
    "auto_scaling_config": {"min_instances": 1},
    "backend_config": {"max_model_len": 1024, "cpu_kv_cache_gib": 1},
}

SHARED_MEMORY = Path("/dev/shm")
LEFT_BEHIND = ("psm_*", "sem.mp-*")
"""What Python's multiprocessing leaves there."""


@frozen
class Family:
    """One engine life, seen while it runs.

    Attributes:
        processes: All of its session: the API server, the core, the workers and their assistants.
        files: Its socket, its TMPDIR and its shared memory.
    """

    id: str
    pid: int
    processes: frozenset[psutil.Process]
    files: frozenset[Path]

    def titled(self, title: str) -> psutil.Process:
        """Return its one process of that title; the API server has none."""
        if not title:
            return psutil.Process(self.pid)
        found = [process for process in self.processes if title in " ".join(process.cmdline())]
        assert len(found) == 1, [process.cmdline() for process in self.processes]
        return found[0]

    def wait_until_gone(self, *, within: float) -> None:
        """Wait until nothing of it is left, or fail and name what is."""
        try:
            eventually(lambda: not self.left(), within=within, what=f"nothing is left of {self.id}")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.left()}") from None

    def left(self) -> list[object]:
        """Return what is still there of it."""
        alive = [p for p in self.processes if runs(p)]
        return [*alive, *(file for file in self.files if file.exists())]


def deploy(cluster: Cluster, document: dict[str, Any]) -> None:
    """Ask for a deployment, right after the start too: until the gateway has found its head."""

    def asked() -> bool:
        response = httpx2.post(f"{cluster.url}/deployments", json=document, trust_env=False, timeout=60)
        assert response.is_success or "head_unavailable" in response.text, response.text
        return response.is_success

    eventually(asked, within=60, what="it is deployed")


def wait_for_fork_server(cluster: Cluster) -> None:
    """Wait until engines can be forked."""

    def is_ready() -> bool:
        return any(server["state"] == "ready" for node in cluster.nodes() for server in node["fork_servers"])

    eventually(is_ready, within=120, what="the fork server is ready")


def was_forked(engine: int) -> bool:
    """Return whether an engine's leash was a fork server's child, which may have been started anew since."""
    leash = psutil.Process(psutil.Process(engine).ppid())
    # That of a program has none of its worker's, and at most what the leash server has.
    return bool(leash.environ().keys() - {MARKER})


def shared_memory() -> dict[int, Path]:
    """Return the shared memory and semaphores that have a name, by inode."""
    found: dict[int, Path] = {}
    for path in (path for pattern in LEFT_BEHIND for path in SHARED_MEMORY.glob(pattern)):
        with suppress(FileNotFoundError):
            found[path.stat().st_ino] = path
    return found


def unused_memory() -> frozenset[Path]:
    """Return the shared memory and semaphores that nobody has mapped, so that they were left behind."""
    there = shared_memory()
    used = {inode for pid in psutil.pids() for inode in _mapped(pid)}
    return frozenset(path for inode, path in there.items() if inode not in used and path.exists())


def _mapped(pid: int) -> set[int]:
    """Return the inodes of the shared memory of a process: a semaphore's name there is one of its youth."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return {int(line.split(maxsplit=5)[4]) for line in lines if f" {SHARED_MEMORY}/" in line}
    return set()


def both_ready(cluster: Cluster, *, within: float) -> list[dict[str, Any]]:
    """Wait until two replicas are ready, and return them."""

    def look() -> list[dict[str, Any]]:
        described = cluster.describe(DEPLOYMENT) or {"instances": []}
        failed = [i for i in described["instances"] if i["state"] == "failed"]
        assert not failed, failed
        ready = [i for i in described["instances"] if i["state"] == "ready"]
        return ready if len(ready) == 2 else []

    return eventually(look, within=within, what="two ready replicas")


def family_of(instance: dict[str, Any]) -> Family:
    """Look at a ready replica's engine."""
    leader = psutil.Process(instance["pid"])
    members = [process for process in psutil.process_iter() if _session(process.pid) == leader.pid]
    socket = Path(instance["address"].removeprefix("unix:"))
    files = {socket, socket.parent / "t" / socket.stem}  # the second is its TMPDIR
    there = shared_memory()
    files.update(there[inode] for each in members for inode in _mapped(each.pid) & there.keys())
    family = Family(instance["id"], leader.pid, frozenset(members), frozenset(files))
    assert all(file.exists() for file in files), files
    return family


def runs(process: psutil.Process) -> bool:
    """Return whether a process is there, and not only its exit status."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _session(pid: int) -> int:
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return -1
