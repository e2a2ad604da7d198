"""What the head costs: ``python bench/control_plane.py [--json FILE] [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.control_suite.fleet import HeadFailed
from bench.control_suite.measures import MEASURES, broken, judge
from bench.control_suite.report import tables
from bench.control_suite.scenario import Load, measure
from bench.control_suite.size import Size
from bench.harness.machine import load as machine_load
from bench.harness.machine import machine_facts
from bench.harness.results import document, write
from bench.harness.tables import show

PACKAGES = ("sllm-actors", "uvloop", "cattrs", "msgpack", "sqlalchemy")

COUNT = click.IntRange(min=1)


@click.command()
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
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(
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
    file: Path | None,
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
    before = machine_load()
    figures: dict[str, float] = {}
    problems: list[str] = []

    async def run() -> None:
        load = Load(rate, seconds, placements, patience)
        try:
            await measure(size, load, figures, lambda line: click.echo(f"  {line}", err=True))
        except* HeadFailed as failed:
            problems.extend(sorted(set(sentences(failed))))

    anyio.run(run, backend="asyncio", backend_options={"use_uvloop": True})
    conditions = {
        "command": " ".join(["python", "bench/control_plane.py", *sys.argv[1:]]),
        "workers": workers,
        "gpus": gpus,
        "deployments": deployments,
        "replicas": replicas,
        "idle": idle,
        "gateways": gateways,
        "rate": rate,
        "seconds": seconds,
        "load_before": before,
    }
    content = document(
        "control_plane",
        machine=machine_facts(PACKAGES),
        measures=list(MEASURES.values()),
        conditions=conditions,
        figures={"figures": {"head": figures}},
    )
    show(*tables(content))
    if file is not None:
        write(file, {**content, **figures})
        click.echo(f"written to {file}", err=True)
    problems += broken(figures)
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    missed = [verdict.measure for verdict in judge(figures, rate) if not verdict.met]
    if check and missed:
        click.echo(f"error: not as wanted: {', '.join(missed)}", err=True)
    if problems or (check and missed):
        sys.exit(1)


def sentences(group: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    """Yield what each of the exceptions in a group says."""
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from sentences(each)
        else:
            yield str(each)


if __name__ == "__main__":
    main()
