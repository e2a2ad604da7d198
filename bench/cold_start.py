"""To the first token: ``python -m bench run cold_start_vllm``, ``cold_start_llamacpp``, ``from_zero_…``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.table import Table

from bench.cold_suite import measures
from bench.cold_suite.cluster import ClusterFailed
from bench.cold_suite.from_zero import llamacpp_from_zero, vllm_from_zero
from bench.cold_suite.llamacpp import measure_llamacpp
from bench.cold_suite.measures import BY_HAND, FORKED, FRESH, PLAIN, REQUEST, STARTS
from bench.cold_suite.vllm import measure_vllm
from bench.harness.experiment import Experiment, benchmark
from bench.harness.plots import draw_bars
from bench.harness.report import errors_table, figures_table, targets_table
from bench.harness.results import Results

PACKAGES = ("sllm-actors", "xllamacpp")
JUDGES = {
    ("vllm", False): measures.judge_vllm,
    ("vllm", True): measures.judge_vllm_from_zero,
    ("llamacpp", False): measures.judge_llamacpp,
    ("llamacpp", True): measures.judge_llamacpp_from_zero,
}


@benchmark("cold_start", PACKAGES)
@click.option("--backend", type=click.Choice(["vllm", "llamacpp"]), default="vllm", show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Starts of each kind."
)
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(".engines/engines/vllm/bin/python"),
    show_default=True,
    help="The Python that has vLLM.",
)
@click.option("--from-zero", is_flag=True, help="Time requests for a deployment of which nothing runs.")
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(
    experiment: Experiment, backend: str, rounds: int, python: Path, from_zero: bool, check: bool
) -> None:
    """Start the demo model on a real engine, through a whole cluster on this machine, and time it.

    vLLM is started plainly, first of all on a fresh worker, and from a fork server that has learned, in turn.
    With --from-zero it is a request that starts it; in turn with that, llama.cpp is started by hand, and vLLM
    by a deploy.
    """
    if backend == "vllm" and not python.exists():
        raise click.BadParameter(f"{python} is not there: run `make vllm`", param_hint="--python")
    experiment.conditions |= {"rounds": rounds, "backend": backend}
    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as name, experiment.measuring(ClusterFailed):
        folder = Path(name)
        if from_zero and backend == "vllm":
            vllm_from_zero(folder, python.absolute(), rounds, experiment)
        elif from_zero:
            llamacpp_from_zero(folder, rounds, experiment)
        elif backend == "vllm":
            measure_vllm(folder, python.absolute(), rounds, experiment)
        else:
            measure_llamacpp(folder, rounds, experiment)
    names = [name for figures in experiment.collected.values.values() for name in figures]
    results = experiment.results(
        measures.measures(names), ours=[PLAIN, FRESH, FORKED, REQUEST], judge=JUDGES[backend, from_zero]
    )
    experiment.finish(results, tables, needed=[PLAIN, FRESH, FORKED, REQUEST, BY_HAND], check=check)


def tables(results: Results) -> list[Table]:
    """Return the starts, where their time goes, and what was wanted."""
    phases = [name for name in results.measures if name not in STARTS]
    shown = [
        figures_table(results, names=STARTS, text=True),
        figures_table(results, "where the seconds go", names=phases, text=True),
        targets_table(results),
        errors_table(results),
    ]
    return [each for each in shown if each.row_count]


def draw(results: Results, path: Path) -> None:
    """Draw how long each kind of start takes."""
    draw_bars(results, ("first_token_s", "cpu_s", "tokens_s"), path)
