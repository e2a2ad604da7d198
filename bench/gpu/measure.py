"""vLLM on a real GPU: ``python -m bench run gpu --python PATH [--source SOURCE]``."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import click
import psutil
from rich.table import Table

from bench.cold_start import tables as starts
from bench.cold_suite.cluster import Cluster, ClusterFailed, open_cluster, wait_for
from bench.cold_suite.measures import judge_vllm, measures
from bench.cold_suite.vllm import KINDS, measure_vllm, wait_for_fork_server
from bench.gpu.memory import NoGpu, holders, used_mib
from bench.harness.experiment import Experiment, benchmark
from bench.harness.results import Results
from bench.harness.tables import table
from sllm_actors.engines.backends.sleep import LEVELS, SleepProblem, VllmSleep
from sllm_actors.engines.replica.readiness import open_client

WITHIN = 300.0


@benchmark("gpu", ("sllm-actors",))
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The Python that has vLLM for CUDA.",
)
@click.option("--source", default="demo:smollm2-135m", show_default=True, help="The model.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Starts of each kind."
)
def main(experiment: Experiment, python: Path, source: str, rounds: int) -> None:
    """Start vLLM plainly and forked, put it to sleep and wake it, kill it, and see who holds GPU memory."""
    try:
        idle = used_mib()
    except NoGpu as problem:
        raise click.ClickException(str(problem)) from None
    document = {
        "model": "measured",
        "backend": "vllm",
        "source": source,
        "num_gpus": 1,
        "backend_config": {"enable_sleep_mode": True, "gpu_memory_utilization": 0.5},
    }
    experiment.conditions |= {"rounds": rounds, "source": source}
    with (
        tempfile.TemporaryDirectory(prefix="sllm-gpu-") as folder,
        experiment.measuring(ClusterFailed, SleepProblem),
    ):
        measure_vllm(Path(folder), python.absolute(), rounds, experiment, document)
        arguments = ("--engine-python", f"vllm={python.absolute()}", "--fork-servers", "vllm")
        with open_cluster(Path(folder) / "life", *arguments) as cluster:
            experiment.more["life"] = measure_life(cluster, document, idle, experiment.say)
    names = [name for figures in experiment.collected.values.values() for name in figures]
    results = experiment.results(measures(names), ours=KINDS, judge=judge_vllm)
    experiment.finish(results, tables)


def tables(results: Results) -> list[Table]:
    """Return the starts, and what one replica went through."""
    life = [(name, str(value)) for name, value in results.more.get("life", {}).items()]
    return [*starts(results), table("the life of one replica", ("what", "found"), life)]


def measure_life(
    cluster: Cluster, document: dict[str, Any], idle: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Follow one replica through sleep, wake and a kill; return seconds, and MiB of GPU memory.

    Args:
        idle: MiB that were in use before anything ran.
    """
    wait_for_fork_server(cluster)
    servers = fork_servers()
    if not servers:
        raise ClusterFailed("no fork server runs, although the worker says that one is ready")
    if set(servers) & set(holders()):
        raise ClusterFailed("the fork server holds GPU memory: it has initialised CUDA")
    deployment = cluster.deploy(document)
    instance = cluster.wait_ready(deployment, within=WITHIN)
    awake = used_mib()
    found: dict[str, Any] = {"idle_mib": idle, "awake_mib": awake, "fork_server_mib": 0, "levels": {}}
    for level in LEVELS:
        found["levels"][str(level)] = anyio.run(sleep_and_wake, instance["address"], level)
        if not any(cluster.stream_tokens(document["model"], 4)):
            raise ClusterFailed(f"it generates nothing after sleep of level {level}")
        say(f"level {level}: {found['levels'][str(level)]}")
    began = time.monotonic()
    os.kill(instance["pid"], signal.SIGKILL)
    wait_for(lambda: used_mib() <= idle + (awake - idle) // 10, within=60, what="its GPU memory is free")
    found["freed_s"] = round(time.monotonic() - began, 3)
    cluster.wait_ready(deployment, within=WITHIN)
    found["back_s"] = round(time.monotonic() - began, 3)
    cluster.delete(deployment)
    return found


async def sleep_and_wake(address: str, level: int) -> dict[str, float]:
    """Put an engine to sleep and wake it; return seconds, and the MiB in use while it slept."""
    tiers = VllmSleep()
    async with await open_client(address, timeout=WITHIN) as engine:
        began = time.monotonic()
        await tiers.sleep(engine, level)
        asleep = time.monotonic()
        held = await anyio.to_thread.run_sync(used_mib)
        waking = time.monotonic()
        await tiers.wake(engine, level)
        return {
            "sleep_s": round(asleep - began, 3),
            "wake_s": round(time.monotonic() - waking, 3),
            "asleep_mib": held,
        }


def fork_servers() -> list[int]:
    """Return the process ids of the fork servers of this user."""
    return [
        process.pid for process in psutil.process_iter() if "sllm fork server" in " ".join(_command(process))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
