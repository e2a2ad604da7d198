"""Policies for many models on few GPUs, on virtual time: ``python bench/trace_sim.py [--json FILE]``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from attrs import asdict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.gateway_suite.plot import REMEDY, possible
from bench.harness.machine import load as machine_load
from bench.harness.machine import machine_facts
from bench.harness.results import document, write
from bench.harness.tables import show
from bench.trace_suite.generator import Shape, plane
from bench.trace_suite.lines import BadTrace
from bench.trace_suite.plot import draw
from bench.trace_suite.policies import REFERENCE
from bench.trace_suite.profile import Profile
from bench.trace_suite.report import left_over, tables, to_json
from bench.trace_suite.sweep import Trace, sweep
from bench.trace_suite.wins import Verdict, verdicts

WANTED = 30
"""Workloads of the 36 that are to be won."""

WANTED_HALF = 18
"""Workloads of the 36 in which ours is to have half the p99 wait of each of the reference's policies."""

QUICK = {"models": 6, "duration": 600.0}


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--room",
    "rooms",
    type=click.IntRange(1, 1000),
    multiple=True,
    default=(50,),
    show_default=True,
    help="Percent of the peak that there are GPUs for; may be repeated.",
)
@click.option(
    "--trace",
    "traces",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="A trace of Azure's (a file) or ServeGen's (a folder), instead of the 36 generated workloads.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Requests per second that a trace is slowed down or sped up to.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Processes side by side.  [default: the machine's cores]"
)
@click.option("--quick", is_flag=True, help="Two small workloads with one seed: shows that it runs.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw them there.")
@click.option("--check", is_flag=True, help="Exit with status 1 when fewer workloads are won than wanted.")
def main(
    seeds: int,
    rooms: tuple[int, ...],
    traces: tuple[Path, ...],
    rate: float | None,
    jobs: int | None,
    quick: bool,
    file: Path | None,
    plot: Path | None,
    check: bool,
) -> None:
    """Play every workload against every policy; nothing runs for real, and no time passes.

    Rows and plot, and what --check looks at, are those of the first room; others are in the result file, too.
    """
    if plot is not None and not possible():
        raise click.ClickException(REMEDY)
    sources: list[Shape | Trace] = [Trace(path, rate) for path in traces] or list(plane())
    if quick:
        sources = [Shape(1.0, 0.3, 1.0, **QUICK), Shape(8.0, 1.0, 1.0, **QUICK)]  # type: ignore[arg-type]
        seeds = 1
    before = machine_load()
    profile = Profile()
    try:
        for source in sources:
            if isinstance(source, Trace):
                source.load(0)  # so that a mistake is told at once
        found = sweep(
            sources,
            seeds=seeds,
            shares=[room / 100 for room in rooms],
            profile=profile,
            jobs=jobs or len(os.sched_getaffinity(0)),
            say=lambda line: click.echo(f"  {line}", err=True),
        )
    except BadTrace as error:
        raise click.ClickException(str(error)) from error
    played = {str(room): [to_json(row) for row in found[room / 100]] for room in rooms}
    content = document(
        "trace_sim",
        machine=machine_facts(("sllm-actors",)),
        measures=[],
        conditions={
            "command": " ".join(["python", "bench/trace_sim.py", *sys.argv[1:]]),
            "profile": asdict(profile),
            "seeds": seeds,
            "load_before": before,
        },
        figures={},
    )
    unanswered = [
        {"room": room, **left_over(row)}
        for room in rooms
        for row in found[room / 100]
        if row.outcome.unanswered
    ]
    content |= {
        "room": rooms[0],
        "rows": played.pop(str(rooms[0])),
        "rooms": played,
        "unanswered": unanswered,
    }
    show(*tables(content))
    if file is not None:
        write(file, content)
        click.echo(f"written to {file}", err=True)
    if plot is not None:
        draw(content, plot)
    if check:
        _check(verdicts(found[rooms[0] / 100]))


def _check(found: list[Verdict]) -> None:
    won = sum(each.won for each in found)
    missed = [] if won >= WANTED else [f"{won} workloads are won, not {WANTED}"]
    for name in REFERENCE:
        halved = sum(name in each.halved for each in found)
        if halved < WANTED_HALF:
            missed.append(f"{halved} have half the p99 wait of {name}, not {WANTED_HALF}")
    if missed:
        click.echo(f"error: {'; '.join(missed)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
