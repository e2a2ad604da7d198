"""Xinference on loopback: its supervisor and one worker, which runs llama.cpp inside a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil

from bench.cold_suite.cluster import ClusterFailed, wait_for
from bench.gateway_suite.system import free_port, last_words, program
from bench.harness.process_tree import descendants, kill
from bench.swap_suite.first_come import model_file

from . import gateways
from .serving import MODEL, SETTINGS, SOON, CannotDo, Serving, lives

VERSION: Final = "4.1.0"
WORKER: Final = "xinference.deploy.worker_relaunch"
"""The module that the worker's process runs; its parent, which was started here, only looks after it."""

QUANTIZATION: Final = "Q4_1"
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "XINFERENCE_AUTH_ADVANCED": "0",  # no accounts: anyone on loopback may ask
    "XINFERENCE_DISABLE_METRICS": "1",
    "XINFERENCE_ENABLE_VIRTUAL_ENV": "0",  # its engine is installed beside it
}


class Xinference:
    """A supervisor and a worker that run."""

    def __init__(self, http: httpx2.Client, supervisor: int, worker: int) -> None:
        self._http = http
        self._worker = worker
        self._before = {each.pid for each in descendants(worker)}
        self._family: list[psutil.Process] = []
        self.pids: tuple[int, ...] = (supervisor, worker)
        self.version = VERSION

    def engines(self) -> list[psutil.Process]:
        """Return the processes that the worker has started since it joined, or that are left of it."""
        known = {each.pid for each in self._family} | self._before
        self._family += [each for each in descendants(self._worker) if each.pid not in known]
        return [each for each in self._family if lives(each)]

    def deploy(self) -> None:
        """Launch the registered model; Xinference answers when it is loaded.

        Raises:
            CannotDo: It refused.
        """
        _accepted(self._http.post("/v1/models", json=launch(model_file()), timeout=SOON))

    def url(self) -> str | None:
        """Return the supervisor's, which passes requests on to the worker."""
        return str(self._http.base_url)

    def delete(self) -> None:
        """Terminate the model."""
        _accepted(self._http.delete(f"/v1/models/{MODEL}", timeout=SOON))

    def kill_worker(self) -> None:
        """Kill the worker itself, below its host, which ends then and leaves a restart to others."""
        for each in descendants(self._worker):
            with suppress(psutil.NoSuchProcess):
                if WORKER in each.cmdline():
                    each.kill()
                    return
        raise CannotDo(f"no process runs {WORKER}")


def registration(file: Path) -> dict[str, Any]:
    """Return what Xinference is told of a custom model in a GGUF file."""
    return {
        "version": 2,
        "model_name": MODEL,
        "model_family": MODEL,
        "model_lang": ["en"],
        "model_ability": ["generate"],
        "context_length": SETTINGS["n_ctx"],
        "model_specs": [
            {
                "model_format": "ggufv2",
                "model_size_in_billions": "0_135",
                "quantizations": [QUANTIZATION],
                "quantization": QUANTIZATION,
                "model_id": None,
                "model_hub": "huggingface",
                "model_uri": file.parent.as_uri(),
                "model_file_name_template": file.name,
            }
        ],
    }


def launch(file: Path) -> dict[str, Any]:
    """Return the request that launches it, with the settings that the engine has beside ours."""
    return {
        "model_uid": MODEL,
        "model_name": MODEL,
        "model_type": "LLM",
        "model_engine": "llama.cpp",
        "model_format": "ggufv2",
        "quantization": QUANTIZATION,
        "model_path": str(file),
        "n_gpu": None,
        "n_threads": max(1, (os.cpu_count() or 2) // 2),
        **SETTINGS,
    }


@contextmanager
def open_xinference(folder: Path) -> Iterator[Serving]:
    """Run a supervisor and a worker with a home of their own, to which the demo model is registered.

    Raises:
        CannotDo: It is not installed, or did not start.
    """
    programs = gateways.ENVIRONMENTS / "xinference" / "bin"
    if not (programs / "xinference-supervisor").exists():
        raise CannotDo('it is not installed: run `make bench-peers PEERS="xinference"`')
    folder.mkdir(parents=True)
    environment = {name: str(folder) for name in ("HOME", "TMPDIR", "XINFERENCE_HOME")} | ENVIRONMENT
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ports = ("-p", str(port), "--supervisor-port", str(free_port()))
    head = [str(programs / "xinference-supervisor"), "-H", "127.0.0.1", *ports]
    join = ("-e", url, "--worker-port", str(free_port()))
    worker = [str(programs / "xinference-worker"), "-H", "127.0.0.1", *join]
    with ExitStack() as stack:
        leader = stack.enter_context(program(head, folder / "head.log", environment))
        http = stack.enter_context(httpx2.Client(base_url=url, timeout=60, trust_env=False))
        _started(lambda: _workers(http) is not None, folder / "head.log")
        keeper = stack.enter_context(program(worker, folder / "worker.log", environment))
        _started(lambda: bool(_workers(http)), folder / "worker.log")
        told = {"model": json.dumps(registration(model_file())), "persist": False}
        _accepted(http.post("/v1/model_registrations/LLM", json=told))
        system = Xinference(http, leader.pid, keeper.pid)
        try:
            yield system
        finally:
            kill(system.engines())


def _workers(http: httpx2.Client) -> dict[str, Any] | None:
    """Return the workers that the supervisor knows; None as long as it does not answer."""
    try:
        answer = http.get("/status")
    except httpx2.TransportError:
        return None
    return dict(answer.json()["workers"]) if answer.is_success else None


def _started(look: Any, log: Path) -> None:
    try:
        wait_for(look, within=SOON, what="it serves", pause=0.2)
    except ClusterFailed as failure:
        raise CannotDo(f"{failure}: {last_words(log)}") from failure


def _accepted(answer: httpx2.Response) -> None:
    if answer.is_error:
        raise CannotDo(f"it said {answer.status_code}: {answer.text[:300]}")
