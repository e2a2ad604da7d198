"""More models than room, on real engines: ``python -m bench run swapping``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.cold_suite.cluster import ClusterFailed
from bench.harness.experiment import Experiment, benchmark
from bench.harness.plots import draw_bars
from bench.harness.results import Results
from bench.harness.targets import Judged, at_least, at_most, quotient
from bench.swap_suite.measures import MEASURES
from bench.swap_suite.systems import SYSTEMS
from bench.swap_suite.work import Work, figures

PACKAGES = ("sllm-actors", "xllamacpp")
OURS = "sllm"
WANTED = 2.0
"""Times as many requests per second as first come, first served."""


@benchmark("swapping", PACKAGES)
@click.option("--models", type=click.IntRange(2, 100), default=8, show_default=True)
@click.option("--room", type=click.IntRange(1, 100), default=2, show_default=True, help="Engines at a time.")
@click.option("--clients", type=click.IntRange(1, 1000), default=32, show_default=True)
@click.option("--alpha", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Of Zipf's law.")
@click.option("--tokens", type=click.IntRange(1, 4096), default=16, show_default=True, help="Of an answer.")
@click.option("--seconds", type=click.FloatRange(min=1), default=45.0, show_default=True, help="Of asking.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(experiment: Experiment, rounds: int, check: bool, **work: Any) -> None:
    """Ask real llama.cpp engines in closed loops, through sllm and first come, first served, in turns."""
    asked, numbers = Work(**work), dict.fromkeys(SYSTEMS, 0)
    experiment.conditions |= {"rounds": rounds, **work}

    def once(name: str) -> dict[str, float]:
        seed = numbers[name]
        numbers[name] += 1
        with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
            answered, switches = SYSTEMS[name](Path(folder) / name, asked, seed)
        if answered.failures:
            experiment.collected.fail(
                name, f"{len(answered.failures)} requests failed, first: {answered.failures[0]}"
            )
        return figures(answered, switches)

    with experiment.measuring():
        experiment.collect(SYSTEMS, rounds, once, expected=ClusterFailed, rotate=False)
    results = experiment.results(MEASURES, basis=OURS, ours=[OURS], judge=judge)
    experiment.finish(results, needed=[OURS], check=check)


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Hold our figures against what is wanted."""
    ours, other = medians.get(OURS, {}), medians.get("first-come", {})
    times = quotient(ours.get("rps"), other.get("rps"))
    return [
        at_least(
            f"requests per second / first come, first served ≥ {WANTED:g}", times, WANTED, compares=True
        ),
        at_most("requests that failed: none", ours.get("errors"), 0),
    ]


def draw(results: Results, path: Path) -> None:
    """Draw how much is answered, and how long it takes."""
    draw_bars(results, ("rps", "wait_p50_s", "wait_p99_s"), path)
