"""What our gateway costs, beside its peers: ``python -m bench run gateway [--only PARTS]``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.table import Table

from bench.gateway_suite.measures import MAIN, OURS, TUNNEL, declare, derived, judge
from bench.gateway_suite.plan import PARTS, SYSTEMS, Plan
from bench.gateway_suite.suite import measure
from bench.harness.experiment import Experiment, benchmark
from bench.harness.plots import draw_bars
from bench.harness.report import errors_table, figures_table, targets_table, usage_table
from bench.harness.results import Results

PACKAGES = ("sllm-actors", "uvloop", "httptools", "msgspec")
COUNT = click.IntRange(min=1)


def chosen(known: tuple[str, ...], option: str, text: str) -> tuple[str, ...]:
    """Return the names in a text with commas; all that are known for an empty one."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no {name!r}: there are {', '.join(known)}", param_hint=option)
    return tuple(name for name in known if name in names) if names else known


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers over 0 in a text with commas."""
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < 1:
        raise click.BadParameter(f"{text!r} is not like 1,32,256", param_hint=option)
    return found


@benchmark("gateway", PACKAGES)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=9, show_default=True, help="Interleaved rounds."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Of each phase, in each round.",
)
@click.option("--systems", "systems_text", default="", help=f"Only these, with commas: {', '.join(SYSTEMS)}.")
@click.option(
    "--connections", default="1,32,256", show_default=True, help="At a time in the closed loops, with commas."
)
@click.option("--only", default="", help=f"Only these parts, with commas: {', '.join(PARTS)}.")
@click.option(
    "--streams", type=COUNT, default=200, show_default=True, help="Steady streams, a chunk each 20 ms."
)
@click.option(
    "--many", type=COUNT, default=5000, show_default=True, help="Streams with a chunk a second each."
)
@click.option(
    "--hold",
    type=click.FloatRange(2, 600),
    default=15,
    show_default=True,
    help="Seconds that each of these lasts.",
)
@click.option("--burst", type=COUNT, default=1000, show_default=True, help="Requests at the same instant.")
def main(
    experiment: Experiment,
    rounds: int,
    seconds: float,
    systems_text: str,
    connections: str,
    only: str,
    streams: int,
    many: int,
    hold: float,
    burst: int,
) -> None:
    """Measure gateways in turns, before the same engine that does nothing.

    The exit status is 1 when ours could not be measured, whatever the figures are.
    """
    plan = Plan(
        systems=chosen(SYSTEMS, "--systems", systems_text),
        parts=chosen(PARTS, "--only", only),
        connections=numbers("--connections", connections),
        rounds=rounds,
        seconds=seconds,
        streams=streams,
        many=many,
        hold=hold,
        burst=burst,
    )
    experiment.conditions |= {
        "rounds": rounds,
        "seconds": seconds,
        "connections": list(plan.connections),
        "streams": streams,
        "many": many,
        "hold": hold,
        "burst": burst,
    }
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder, experiment.measuring():
        measure(plan, Path(folder), experiment, versions)
    values = experiment.collected.values
    for name, figures in values.items():
        values[name] = derived(figures)
    ours = [name for name in (OURS, TUNNEL) if name in plan.systems]
    results = experiment.results(
        declare(list(dict.fromkeys(each for figures in values.values() for each in figures))),
        basis=OURS if OURS in plan.systems else "",
        ours=ours,
        versions=versions,
        judge=judge,
    )
    experiment.finish(results, tables, needed=ours)


def tables(results: Results) -> list[Table]:
    """Return the main figures, those of each phase, and the targets."""
    others = [name for name in results.measures if name not in MAIN]
    return [
        figures_table(results, "medians", names=MAIN),
        figures_table(results, "phase by phase", names=others),
        targets_table(results),
        *(each for each in (usage_table(results), errors_table(results)) if each.row_count),
    ]


def page_tables(results: Results) -> list[Table]:
    """Return the main figures and the targets, without those of each phase."""
    return [figures_table(results, "medians", names=MAIN), targets_table(results)]


SHOWN = ("rps", "cpu_us_per_request", "cpu_us_per_chunk", "ttft_p50_ms", "ttft_p99_ms", "kib_per_stream")


def draw(results: Results, path: Path) -> None:
    """Draw the main figures."""
    draw_bars(results, SHOWN, path)
