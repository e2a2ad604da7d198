"""What the tests of the engines share: plans for fake engines, and looking at processes from outside."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
from attrs import evolve
from tests.children import end

from sllm_actors.actors import TEMPORARY, ActorRef, ChildSpec
from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.environment import engine_environment
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import (
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
)
from sllm_actors.engines.plan import EnginePaths, LaunchPlan
from sllm_actors.engines.replica.actor import ReplicaActor
from sllm_actors.testing import TestProbe, TestSystem
from sllm_actors.testing.fake_engine import fake_engine_argv


def paths_in(folder: Path, name: str = "engine") -> EnginePaths:
    """Return the places of an engine; its socket's name, which marks its processes, is no other folder's."""
    name = f"{name}-{hash_of(folder)}"
    return EnginePaths(folder / f"{name}.sock", folder / f"{name}.tmp", folder / f"{name}.log")


def hash_of(folder: Path) -> str:
    return hashlib.blake2b(bytes(folder), digest_size=4).hexdigest()


def fake_plan(folder: Path, *options: str, stop_budget: float = 5.0) -> LaunchPlan:
    paths = paths_in(folder)
    argv = fake_engine_argv("--socket", str(paths.socket), *options)
    return LaunchPlan(argv, engine_environment(os.environ, paths), paths, stop_budget=stop_budget)


def script_plan(folder: Path, script: str, stop_budget: float = 5.0) -> LaunchPlan:
    paths = paths_in(folder)
    argv = (sys.executable, "-I", "-S", "-c", script)
    return LaunchPlan(argv, engine_environment(os.environ, paths), paths, stop_budget=stop_budget)


def alive(pid: int) -> bool:
    """Say whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def until(condition: Callable[[], object], *, timeout: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not become so"
        await anyio.sleep(0.005)


def log_of(plan: LaunchPlan) -> str:
    return "".join(file.read_text() for file in sorted(plan.paths.log.glob("*.log")))


def leash_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def open_files(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return sorted(found)


def shared_memory(name: str) -> Path:
    return Path(f"/dev/shm/psm_{name}{os.getpid()}")


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def members(group: int) -> list[int]:
    """Return the processes of a process group that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(entry.name)) == group and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def environment_of(pid: int) -> dict[str, str]:
    """Return what the kernel shows as the environment of a process."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


async def start(
    system: TestSystem, order: ReplicaOrder, host: EngineHost, name: str = "replica"
) -> tuple[ActorRef, TestProbe]:
    probe = await system.probe()
    spec = ChildSpec(name, lambda: ReplicaActor(order, host=host, owner=probe.ref), restart=TEMPORARY)
    return await system.start(spec), probe


async def report_of(
    probe: TestProbe, state: ReplicaState, where: Callable[[ReplicaReport], bool] = lambda _: True
) -> ReplicaReport:
    while True:
        changed = await probe.expect(ReplicaChanged)
        if changed.report.state is state and where(changed.report):
            return changed.report


def left(host: EngineHost) -> list[Path]:
    return [path for path in host.folders.runtime.rglob("*") if path != host.folders.tmp]


@contextmanager
def post(
    address: str, body: dict[str, object], path: str = "/v1/completions"
) -> Iterator[subprocess.Popen[str]]:
    """Send a request to an engine from a process of its own, which prints the answer."""
    program = (
        "import http.client, socket, sys\n"
        "c = http.client.HTTPConnection('engine')\n"
        "c.sock = socket.socket(socket.AF_UNIX)\n"
        "c.sock.connect(sys.argv[1])\n"
        "c.request('POST', sys.argv[2], sys.argv[3])\n"
        "print(c.getresponse().read().decode())\n"
    )
    argv = [sys.executable, "-I", "-S", "-c", program, address.removeprefix("unix:"), path, json.dumps(body)]
    asking = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield asking
    finally:
        end(asking)


class FakeBackend:
    """Starts a fake engine; its options are in the order's source."""

    name = "fake"

    def inspect(self, *_: object) -> SourceInspected:
        return SourceInspected()

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        plan = fake_plan(host.folders.logs, *order.source.split(), stop_budget=host.policy.stop_budget)
        argv = tuple(str(paths.socket) if word.endswith(".sock") else word for word in plan.argv)
        env = engine_environment(os.environ, paths)
        return Launch(f"unix:{paths.socket}", ("/health",), evolve(plan, argv=argv, env=env, paths=paths))


PARTS = ("hardware", "interpreters", "policy")


def altered(host: EngineHost, **changes: object) -> EngineHost:
    """Return a host with some settings of its parts changed; interpreters are given by backend."""
    named = {"interpreters": "named"}
    changes = {named.get(name, name): value for name, value in changes.items()}
    for part in PARTS:
        settings = getattr(host, part)
        mine = {name: changes.pop(name) for name in list(changes) if hasattr(settings, name)}
        host = evolve(host, **{part: evolve(settings, **mine)})
    assert not changes, f"no part of a host has {', '.join(changes)}"
    return host
