"""Policies for many models on few GPUs, on virtual time: ``python -m bench run traces``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import click
from attrs import asdict

from bench.harness.experiment import Experiment, benchmark
from bench.harness.measures import Measure
from bench.harness.targets import Judged, at_least
from bench.trace_suite.contenders import DEFAULT, OURS, contenders
from bench.trace_suite.generator import Shape, plane
from bench.trace_suite.lines import BadTrace
from bench.trace_suite.plot import draw as draw
from bench.trace_suite.plot import page_draw as page_draw
from bench.trace_suite.policies import REFERENCE
from bench.trace_suite.profile import Profile
from bench.trace_suite.report import FIGURES, label, left_over, to_json
from bench.trace_suite.report import page_tables as page_tables
from bench.trace_suite.report import tables as tables
from bench.trace_suite.sweep import Found, Row, Trace, rows, sweep
from bench.trace_suite.wins import verdicts

WORKLOADS = 36

WANTED = 30
"""Workloads of the 36 that are to be won."""

WANTED_HALF = 18
"""Workloads of the 36 in which ours is to have half the p99 wait of each of the reference's policies."""

QUICK = (
    Shape(1.0, 0.3, 1.0, models=6, duration=200.0),
    Shape(8.0, 1.0, 1.0, models=6, duration=200.0),
)
"""The workloads of ``--quick``."""


@benchmark("traces", ("sllm-actors",))
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
@click.option("--check", is_flag=True, help="Exit with status 1 when fewer workloads are won than wanted.")
def main(
    experiment: Experiment,
    seeds: int,
    rooms: tuple[int, ...],
    traces: tuple[Path, ...],
    rate: float | None,
    jobs: int | None,
    quick: bool,
    check: bool,
) -> None:
    """Play every workload against every policy; nothing runs for real, and no time passes.

    Rows and plot, and what --check looks at, are those of the first room; others are in the result file, too.
    """
    sources: list[Shape | Trace] = [Trace(path, rate) for path in traces] or list(plane())
    if quick:
        sources = list(QUICK)
        seeds = 1
    profile, plays = Profile(), Found()
    try:
        for source in sources:
            if isinstance(source, Trace):
                source.load(0)  # so that a mistake is told at once
        with experiment.measuring():
            sweep(
                sources,
                seeds=seeds,
                shares=[room / 100 for room in rooms],
                profile=profile,
                jobs=jobs or len(os.sched_getaffinity(0)),
                say=experiment.say,
                into=plays,
            )
    except BadTrace as error:
        raise click.ClickException(str(error)) from error
    found = {room: in_order(rows(plays, room / 100), sources) for room in rooms}
    played = {str(room): [to_json(row) for row in found[room]] for room in rooms}
    first = found[rooms[0]]
    experiment.conditions |= {"profile": asdict(profile), "seeds": seeds, "workloads": len(sources)}
    experiment.more |= {
        "room": rooms[0],
        "rows": played.pop(str(rooms[0])),
        "rooms": played,
        "unanswered": [
            {"room": room, **left_over(row)}
            for room in rooms
            for row in found[room]
            if row.outcome.unanswered
        ],
    }
    for name, figures in over_workloads(first).items():
        experiment.collected.add(name, figures)
    ours = [label(each) for each in contenders() if each.policy == OURS]
    results = experiment.results(
        MEASURES, basis=f"{OURS}, {DEFAULT}", ours=ours, judge=lambda _: judge(first, whole=not quick)
    )
    experiment.finish(results, tables, check=check)


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("gpu_seconds", "GPU-seconds", "s", higher_is_better=False),
        Measure("wait_p50_s", "wait, median", "s", higher_is_better=False),
        Measure("wait_p99_s", "wait, 99th percentile", "s", higher_is_better=False),
        Measure("cold_rate", "share of requests without a ready replica", "", higher_is_better=False),
        Measure("switches", "switches of GPUs between models", "", higher_is_better=False),
    )
}


def in_order(found: Sequence[Row], sources: Sequence[Shape | Trace]) -> list[Row]:
    """Return rows in the order of their workloads' sources: they are played side by side."""
    names = [source.name for source in sources]
    return sorted(found, key=lambda row: names.index(row.workload))


def over_workloads(rows: Sequence[Row]) -> Mapping[str, Mapping[str, float]]:
    """Return the median over the workloads of each figure of each contender."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        figures = asdict(row.outcome)
        for name in FIGURES:
            found.setdefault(label(row.contender), {}).setdefault(name, []).append(figures[name])
    return {
        contender: {name: median(values) for name, values in figures.items()}
        for contender, figures in found.items()
    }


def judge(rows: Sequence[Row], *, whole: bool) -> list[Judged]:
    """Hold what was won against what is wanted of the 36 workloads; nothing is wanted of others."""
    found = verdicts(rows)
    if not whole or len(found) != WORKLOADS:
        return []
    won = sum(each.won for each in found)
    halved = {name: sum(name in each.halved for each in found) for name in REFERENCE}
    return [
        at_least(f"of {WORKLOADS} workloads, won ≥ {WANTED}", won, WANTED),
        *(
            at_least(f"of {WORKLOADS}, half the p99 wait of {name} ≥ {WANTED_HALF}", count, WANTED_HALF)
            for name, count in halved.items()
        ),
    ]
