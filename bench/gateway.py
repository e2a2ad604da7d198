"""What our gateway costs, beside its peers: ``python bench/gateway.py [--json FILE] [--plot FILE.png]``."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.gateway_suite import plot as plots
from bench.gateway_suite.measures import OURS, TUNNEL
from bench.gateway_suite.plan import PARTS, SYSTEMS, Plan
from bench.gateway_suite.report import tables
from bench.gateway_suite.suite import assemble, measure
from bench.harness.machine import load, machine_facts
from bench.harness.results import write
from bench.harness.tables import show

PACKAGES = ("sllm-actors", "uvloop", "httptools", "msgspec")
FILE = click.Path(path_type=Path, dir_okay=False)
COUNT = click.IntRange(min=1)

BUSY = 0.5
"""The load for each core above which the figures say little."""


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


@click.command()
@click.option("--json", "file", type=FILE, help="Write the results there.")
@click.option("--plot", type=FILE, help="Draw the main figures there (needs matplotlib).")
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
    file: Path | None,
    plot: Path | None,
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
    if plot is not None and not plots.possible():
        raise click.BadParameter(plots.REMEDY, param_hint="--plot")
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
    before, began = load(), time.monotonic()
    facts = machine_facts(PACKAGES)
    if before[0] > BUSY * facts["cores"]:
        click.echo(f"warning: the machine does other work (load {before[0]:g}): trust no figure", err=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and end what was started
    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder:
        collected, systems = measure(plan, Path(folder), lambda line: click.echo(f"  {line}", err=True))
    conditions = {
        "command": " ".join(["python", "bench/gateway.py", *sys.argv[1:]]),
        "rounds": rounds,
        "seconds": seconds,
        "connections": list(plan.connections),
        "streams": streams,
        "many": many,
        "hold": hold,
        "burst": burst,
        "load_before": before,
        "load_after": load(),
        "took_s": round(time.monotonic() - began),
    }
    content = assemble(plan, collected, systems, machine=facts, conditions=conditions)
    show(*tables(content))
    for name, sentences in content["errors"].items():
        for sentence in sentences:
            click.echo(f"{name}: {sentence}", err=True)
    if file is not None:
        write(file, content)
        click.echo(f"written to {file}", err=True)
    if plot is not None:
        plots.draw(content, plot)
        click.echo(f"drawn to {plot}", err=True)
    if any(name in content["errors"] for name in (OURS, TUNNEL) if name in plan.systems):
        sys.exit(1)


if __name__ == "__main__":
    main()
