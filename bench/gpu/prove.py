"""What is promised of GPUs, on a real one: ``python -m bench run gpu_proofs [--python PATH]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
import httpx2
from rich.table import Table

from bench.cold_suite.cluster import ClusterFailed, open_cluster
from bench.gpu.lab import CACHE, WEIGHTS, Lab
from bench.gpu.memory import NoGpu, name, used_mib
from bench.gpu.promises import PROMISES, Found
from bench.harness.experiment import Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.results import Results
from bench.harness.tables import table
from bench.harness.targets import at_most

MEASURES = {
    "holds": Measure("holds", "whether it holds", "", higher_is_better=True),
    "took_s": Measure("took_s", "the whole trial", "s", higher_is_better=False),
}


@benchmark("gpu_proofs", ("sllm-actors",))
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=Path(sys.executable),
    help="The Python that has PyTorch for CUDA.  [default: this one]",
)
@click.option("--only", type=click.Choice(list(PROMISES)), multiple=True, help="Try only these.")
def main(experiment: Experiment, python: Path, only: tuple[str, ...]) -> None:
    """Let engines with real GPU memory start, share, sleep, make room and die, and look at the GPU meanwhile.

    Each promise is tried, whatever has become of those before it. The exit status is 1 if one has failed.
    """
    try:
        idle = used_mib()
    except NoGpu as problem:
        raise click.ClickException(str(problem)) from None
    found: dict[str, Found] = {}
    experiment.machine["gpu"] = name()
    experiment.conditions |= {"weights_mib": WEIGHTS, "cache_mib": CACHE, "idle_mib": idle}
    experiment.more["promises"] = found
    with experiment.measuring():
        for promise in only or PROMISES:
            found[promise] = _tried(promise, python, idle)
            experiment.say(f"{promise}: {found[promise]}")
    for promise, seen in found.items():
        experiment.collected.add(promise, {"holds": float(seen["holds"]), "took_s": seen["took_s"]})
    results = experiment.results(
        MEASURES,
        ours=found,
        judge=lambda _: [
            at_most("promises that do not hold: none", sum(not seen["holds"] for seen in found.values()), 0)
        ],
    )
    experiment.finish(results, tables, check=True)


def tables(results: Results) -> list[Table]:
    """Return each promise, whether it holds, and what was seen."""
    rows = [
        (promise, "holds" if seen["holds"] else "BROKEN", _seen(seen), f"{seen['took_s']:g}")
        for promise, seen in results.more["promises"].items()
    ]
    title = f"promises of GPUs, on {results.machine['gpu']}"
    return [table(title, ("promise", "", "seen", "s"), rows, texts=3)]


def _seen(found: Found) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items() if key not in ("holds", "took_s"))


def _tried(promise: str, python: Path, idle: int) -> Found:
    found: Found = {"holds": True}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sllm-gpu-") as folder:
        try:
            with open_cluster(Path(folder) / "cluster", "--allow-command") as cluster:
                found |= PROMISES[promise](Lab(cluster, python.absolute(), idle))
        except (ClusterFailed, AssertionError, httpx2.HTTPError, LookupError) as failure:
            found = {"holds": False, "why": f"{type(failure).__name__}: {failure}"[:2000]}
    return {**found, "took_s": round(time.monotonic() - began, 1)}
