"""Our cluster, as people run it: ``sllm head`` with its gateways, and a worker here or elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx2

from bench.harness.process_tree import descendants

from .system import System, SystemFailed, program, wait_for, wait_to_answer
from .target import Target

SLLM = (sys.executable, "-m", "sllm_actors")
UPSTREAM = Path(__file__).with_name("upstream.py")
MODEL = "bench"
SOON = 60.0


def elsewhere() -> tuple[str, ...]:
    """Return what makes a command's process belong to another machine, as far as our processes can tell.

    Its mounts are its own, so that unix sockets here do not count as reachable there; the network is the
    same, and a tunnel goes over loopback.

    Raises:
        SystemFailed: That is not possible here.
    """
    tool = shutil.which("unshare")
    if tool is None:
        raise SystemFailed(
            "there is no unshare here (package util-linux), which another machine is made with"
        )
    command = (tool, "--mount") if os.geteuid() == 0 else (tool, "--map-root-user", "--mount")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        raise SystemFailed("unshare may not make a mount namespace here, which another machine is made with")
    return command


@contextmanager
def open_ours(name: str, folder: Path, *, far: bool = False, gateways: int = 1) -> Iterator[System]:
    """Run a cluster whose one replica is the bare upstream, on its unix socket.

    The gateways listen on all addresses, since only then do they want a key; they are asked on loopback.

    Args:
        name: The system's.
        folder: For its data, and its programs' output.
        far: Whether the worker is another machine, which gateways reach through tunnels.
        gateways: How many processes.

    Raises:
        SystemFailed: It does not serve.
    """
    prefix = elsewhere() if far else ()
    head_log, worker_log = folder / "head.log", folder / "worker.log"
    ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0")
    place = ("--host", "0.0.0.0")  # noqa: S104 - it wants a key there
    head = (*SLLM, "head", "--gateways", str(gateways), *place, *ports, "--data-dir", str(folder / "head"))
    with program(head, head_log) as launcher:

        def said(pattern: str) -> str:
            found = wait_for(
                lambda: re.search(pattern, head_log.read_text()),
                launcher,
                head_log,
                within=SOON,
                what=pattern,
            )
            return found[1]

        cluster, port = said(r"cluster HTTP on port (\d+)"), int(said(r"OpenAI API: http://[^:]+:(\d+)"))
        worker = (
            *(*prefix, *SLLM, "worker", "--head", f"127.0.0.1:{cluster}", "--port", "0"),
            *("--host", "127.0.0.1", "--advertise", "127.0.0.1", "--allow-command", "--fork-servers", "none"),
            *("--data-dir", str(folder / "worker"), "--secret-file", str(folder / "head" / "secret")),
        )
        with program(worker, worker_log) as keeper:
            wait_for(
                lambda: "joined the head" in worker_log.read_text(),
                keeper,
                worker_log,
                within=SOON,
                what="the worker joins the head",
            )
            key = (folder / "head" / "admin-key").read_text().strip()
            _deploy(port, key)
            # Titles are what ``ps`` shows. The engine is a child of the worker and does not count.
            titled = _titles(launcher.pid) | _titles(keeper.pid)
            groups = {
                "gateway": [pid for pid, title in titled.items() if title.startswith("sllm gateway")],
                "worker": [pid for pid, title in titled.items() if title.startswith("sllm worker ")],
                "head": [pid for pid, title in titled.items() if title.startswith("sllm head")],
            }
            if len(groups["gateway"]) != gateways or not groups["worker"]:
                raise SystemFailed(f"its processes were not found among {sorted(titled.values())}")
            target = Target(port, key, MODEL, groups)
            wait_to_answer(target, launcher, head_log, within=SOON)
            yield System(name, target, version("sllm-actors"))


def _deploy(port: int, key: str) -> None:
    document = {
        "model": MODEL,
        "backend": "command",
        "num_gpus": 0,
        "backend_config": {"command": [sys.executable, str(UPSTREAM), "--socket", "$SOCKET"]},
    }
    try:
        answer = httpx2.post(
            f"http://127.0.0.1:{port}/deployments",
            json=document,
            headers={"authorization": f"Bearer {key}"},
            timeout=SOON,
            trust_env=False,
        )
    except httpx2.HTTPError as error:
        raise SystemFailed(f"its gateway does not answer: {error}") from error
    if answer.is_error:
        raise SystemFailed(f"it takes no deployment: {answer.text[:300]}")


def _titles(pid: int) -> dict[int, str]:
    return {each.pid: " ".join(each.cmdline()).strip() for each in descendants(pid)}
