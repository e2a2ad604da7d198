"""Very many requests at once for a model at rest: ``python -m bench run burst``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from bench.cold_suite.cluster import ClusterFailed, open_cluster
from bench.harness.experiment import Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.process_tree import watching
from bench.harness.targets import Judged, at_most

from .asking import MEASURES as ASKED
from .asking import at_once, completion

REST, READY = "from zero", "ready"
MODEL = "smol"

MEASURES = {
    **ASKED,
    "first_s": Measure("first_s", "until the first answer", "s", higher_is_better=False),
    "engines": Measure("engines", "engines that ran at the end", "", higher_is_better=False),
}


@benchmark("burst", ("sllm-actors", "xllamacpp"))
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--requests", type=click.IntRange(1, 5000), default=64, show_default=True, help="At the same instant."
)
@click.option("--tokens", type=click.IntRange(1, 4096), default=8, show_default=True, help="Of an answer.")
def main(experiment: Experiment, rounds: int, requests: int, tokens: int) -> None:
    """Send requests at the same instant for a llama.cpp model, in turns at rest and ready.

    The exit status is 1 when a request was lost.
    """
    experiment.conditions |= {"rounds": rounds, "requests": requests, "tokens": tokens}
    bodies = [completion(MODEL, f"Once upon a time in {each}", tokens) for each in range(requests)]
    with (
        experiment.measuring(ClusterFailed),
        tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder,
        open_cluster(Path(folder), "--fork-servers", "none") as cluster,
    ):
        deployment = cluster.deploy(
            {
                "model": MODEL,
                "backend": "llamacpp",
                "source": "demo:smollm2-135m",
                "auto_scaling_config": {"min_instances": 0},
            }
        )

        def once(kind: str) -> dict[str, float]:
            if kind == REST:
                cluster.rest(deployment)
            else:
                asyncio.run(at_once(cluster.url, bodies[:1]))
            with watching(cluster.pid) as meter:
                answers = asyncio.run(at_once(cluster.url, bodies))
            experiment.collected.use(kind, meter.seconds, meter.peak_bytes)
            for failure in answers.failures[:3]:
                experiment.say(f"{kind}: {failure}")
            first = {"first_s": min(answers.waits)} if answers.waits else {}
            engines = len(cluster.describe(deployment)["instances"])
            return {**answers.figures(), **first, "engines": float(engines)}

        asyncio.run(at_once(cluster.url, bodies[:1]))  # which reads the model's file from the disk
        experiment.collect([REST, READY], rounds, once, expected=ClusterFailed, rotate=False)
    results = experiment.results(MEASURES, ours=[REST, READY], judge=judge)
    experiment.finish(results, needed=[REST, READY], check=True)


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Say what is wanted: no request is lost."""
    return [
        at_most(f"requests lost, {kind}: none", medians.get(kind, {}).get("errors"), 0)
        for kind in (REST, READY)
    ]
