"""What the head costs: ``python -m bench run control_plane [--check]``."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import click
from rich.table import Table

from bench.control_suite.fleet import HeadFailed
from bench.control_suite.measures import MEASURES, broken, judge
from bench.control_suite.scenario import Load, measure
from bench.control_suite.size import Size
from bench.harness.experiment import Experiment, benchmark
from bench.harness.report import errors_table, figures_table, targets_table
from bench.harness.results import Results

HEAD = "head"
PACKAGES = ("sllm-actors", "uvloop", "cattrs", "msgpack", "sqlalchemy")

COUNT = click.IntRange(min=1)


@benchmark("control_plane", PACKAGES)
@click.option("--workers", type=COUNT, default=1000, show_default=True)
@click.option("--gpus", type=click.IntRange(min=0), default=8, show_default=True, help="GPUs of each worker.")
@click.option("--deployments", type=COUNT, default=10_000, show_default=True)
@click.option(
    "--replicas", type=COUNT, default=30_000, show_default=True, help="Of all deployments that are not idle."
)
@click.option(
    "--idle",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Of the deployments: nothing of them runs until somebody asks for it.",
)
@click.option("--gateways", type=COUNT, default=2, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(min=1), default=2000, show_default=True, help="Events a second."
)
@click.option("--seconds", type=click.FloatRange(min=1), default=20, show_default=True, help="Of events.")
@click.option("--placements", type=COUNT, default=300, show_default=True, help="Replicas that get a place.")
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=120,
    show_default=True,
    help="Seconds that the cluster may take to settle.",
)
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(
    experiment: Experiment,
    workers: int,
    gpus: int,
    deployments: int,
    replicas: int,
    idle: int,
    gateways: int,
    rate: float,
    seconds: float,
    placements: int,
    patience: float,
    check: bool,
) -> None:
    """Measure the real head over the real codec, with simulated workers and gateways in another process.

    The figures are of the head's process alone. Without --check the status is 1 only when the head failed, or
    touched an engine because it was restarted.
    """
    if idle >= deployments:
        raise click.UsageError(f"--idle {idle} is not less than --deployments {deployments}")
    if replicas < deployments - idle:
        raise click.UsageError(
            f"--replicas {replicas} is less than the {deployments - idle} deployments that are not idle: each"
            " wants one"
        )
    size = Size(workers, gpus, deployments, replicas, gateways, idle)
    experiment.conditions |= {
        "workers": workers,
        "gpus": gpus,
        "deployments": deployments,
        "replicas": replicas,
        "idle": idle,
        "gateways": gateways,
        "rate": rate,
        "seconds": seconds,
    }
    figures: dict[str, float] = {}

    async def run() -> None:
        load = Load(rate, seconds, placements, patience)
        try:
            await measure(size, load, figures, experiment.say)
        except* HeadFailed as failed:
            for sentence in sorted(set(sentences(failed))):
                experiment.collected.fail(HEAD, sentence)

    with experiment.measuring():
        anyio.run(run, backend="asyncio", backend_options={"use_uvloop": True})
    experiment.collected.add(HEAD, figures)
    for sentence in broken(figures):
        experiment.collected.fail(HEAD, sentence)
    results = experiment.results(
        MEASURES, ours=[HEAD], judge=lambda medians: judge(medians.get(HEAD, {}), rate)
    )
    experiment.finish(results, tables, needed=[HEAD], check=check)


def tables(results: Results) -> list[Table]:
    """Return what is wanted with what was found, and the figures."""
    conditions = results.conditions
    size = (
        f"{conditions['workers']:,} workers, {conditions['deployments']:,} deployments, "
        f"{conditions['replicas']:,} replicas"
    )
    return [
        targets_table(results, f"the head, with {size}"),
        figures_table(results, "all figures", text=True),
        *(each for each in [errors_table(results)] if each.row_count),
    ]


def sentences(group: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    """Yield what each of the exceptions in a group says."""
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from sentences(each)
        else:
            yield str(each)
