"""Replicas that are killed under load: ``python -m bench run failover``."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from bench.cold_suite.cluster import Cluster, ClusterFailed, open_cluster, wait_for
from bench.harness.experiment import Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.process_tree import watching
from bench.harness.targets import Judged, at_least, at_most

from .asking import MEASURES as ASKED
from .asking import Answers, Body, MakeBody, closed_loop, completion

CALM, KILLED = "undisturbed", "replicas killed"
MODEL = "smol"
REPLICAS = 2
WITHIN = 120.0

MEASURES = {**ASKED, "kills": Measure("kills", "replicas that were killed", "", higher_is_better=True)}


@benchmark("failover", ("sllm-actors", "xllamacpp"))
@click.option("--rounds", type=click.IntRange(1, 100), default=2, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Of asking.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.5),
    default=10.0,
    show_default=True,
    help="Seconds between two kills, each of which waits until all replicas are ready again.",
)
@click.option("--clients", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option("--tokens", type=click.IntRange(1, 4096), default=8, show_default=True, help="Of an answer.")
def main(
    experiment: Experiment, rounds: int, seconds: float, every: float, clients: int, tokens: int
) -> None:
    """Ask two llama.cpp replicas in a closed loop, in turns undisturbed and while one or the other is killed.

    The exit status is 1 when a request was lost.
    """
    experiment.conditions |= {
        "rounds": rounds,
        "seconds": seconds,
        "every": every,
        "clients": clients,
        "tokens": tokens,
    }

    def body(chance: random.Random) -> Body:
        return completion(MODEL, f"Once upon a time in {chance.randrange(1000)}", tokens)

    with (
        experiment.measuring(ClusterFailed),
        tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder,
        open_cluster(Path(folder), "--fork-servers", "none") as cluster,
    ):
        deployment = deploy_ready(cluster, MODEL, REPLICAS)

        def once(kind: str) -> dict[str, float]:
            wait_for(
                lambda: len(ready_pids(cluster, deployment)) == REPLICAS,
                within=WITHIN,
                what="all replicas are ready",
            )
            with watching(cluster.pid) as meter:
                answers, kills = asyncio.run(
                    under_load(cluster, deployment, body, clients, seconds, every if kind == KILLED else 0)
                )
            experiment.collected.use(kind, meter.seconds, meter.peak_bytes)
            for failure in answers.failures[:3]:
                experiment.say(f"{kind}: {failure}")
            return {**answers.figures(), "kills": float(kills)}

        experiment.collect([CALM, KILLED], rounds, once, expected=ClusterFailed)
    results = experiment.results(MEASURES, ours=[CALM, KILLED], judge=judge)
    experiment.finish(results, needed=[CALM, KILLED], check=True)


async def under_load(
    cluster: Cluster, deployment: str, body: MakeBody, clients: int, seconds: float, every: float
) -> tuple[Answers, int]:
    """Ask, and kill a replica each ``every`` seconds, none for 0; return the answers and the kills.

    One is killed only when all are ready: a request that has lost two engines is not tried a third time.
    """
    killed: list[int] = []

    async def kill() -> None:
        while True:
            await asyncio.sleep(every)
            pids = await asyncio.to_thread(ready_pids, cluster, deployment)
            if len(pids) == REPLICAS and killed[-1:] != pids[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])

    async with asyncio.TaskGroup() as group:
        killer = group.create_task(kill()) if every else None
        answers = await closed_loop(cluster.url, clients, seconds, body)
        if killer is not None:
            killer.cancel()
    return answers, len(killed)


def deploy_ready(cluster: Cluster, model: str, replicas: int, **more: Any) -> str:
    """Deploy the demo model on llama.cpp with so many replicas, and wait until all are ready."""
    deployment = cluster.deploy(
        {
            "model": model,
            "backend": "llamacpp",
            "source": "demo:smollm2-135m",
            "auto_scaling_config": {"min_instances": replicas, "max_instances": replicas},
            **more,
        }
    )
    wait_for(
        lambda: len(ready_pids(cluster, deployment)) == replicas, within=WITHIN, what=f"{deployment} is ready"
    )
    return deployment


def ready_pids(cluster: Cluster, deployment: str) -> list[int]:
    """Return the process numbers of the engines that are ready."""
    instances = cluster.describe(deployment)["instances"]
    return [each["pid"] for each in instances if each["state"] == "ready"]


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Say what is wanted: no request is lost, and something was killed."""
    killed = medians.get(KILLED, {})
    return [
        at_most("requests lost while replicas were killed: none", killed.get("errors"), 0),
        at_least("replicas killed in a round ≥ 1", killed.get("kills"), 1),
    ]
