"""The two systems that are compared, each from its start to its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2

from bench.cold_suite.cluster import open_cluster, wait_for
from bench.harness.process_tree import end
from bench.scenarios.asking import Answers
from sllm_actors.engines.machine.cores import CorePool

from .work import SETTINGS, SOURCE, Work, ask, name


def run_sllm(folder: Path, work: Work, seed: int) -> tuple[Answers, int]:
    """Run sllm on this machine; return what was answered, and how many engines were started for it."""
    with open_cluster(folder, "--fork-servers", "none", "--slots", str(work.room)) as cluster:
        for model in range(work.models):
            cluster.deploy(
                {
                    "model": name(model),
                    "backend": "llamacpp",
                    "source": SOURCE,
                    "backend_config": SETTINGS,
                    "auto_scaling_config": {"min_instances": 0, "target": SETTINGS["n_parallel"]},
                }
            )
        answered = asyncio.run(ask(cluster.url, work, seed))
        log = (folder / "head" / "node.log").read_text()
        return answered, log.count('"replica.placed"')


def run_first_come(folder: Path, work: Work, seed: int) -> tuple[Answers, int]:
    """Run the proxy that swaps first come, first served; return the same."""
    folder.mkdir(parents=True)
    threads = CorePool().share_of_two
    arguments = [str(folder), *(str(each) for each in (work.room, work.models, threads))]
    process = subprocess.Popen([sys.executable, "-m", "bench.swap_suite.first_come", *arguments])
    socket = folder / "proxy.sock"
    try:
        wait_for(socket.exists, within=60, what="the proxy listens")
        transport = httpx2.AsyncHTTPTransport(uds=str(socket))
        answered = asyncio.run(ask("http://proxy", work, seed, transport))
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket))) as http:
            return answered, http.get("http://proxy/switches").json()["switches"]
    finally:
        end(process, within=60)


SYSTEMS: dict[str, Callable[[Path, Work, int], tuple[Answers, int]]] = {
    "sllm": run_sllm,
    "first-come": run_first_come,
}
