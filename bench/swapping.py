"""More models than room, on real engines: ``python bench/swapping.py [--json FILE]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.cold_suite.cluster import ClusterFailed
from bench.harness.machine import load, machine_facts
from bench.harness.results import document, write
from bench.harness.tables import show
from bench.swap_suite.report import MEASURES, figures_table
from bench.swap_suite.systems import SYSTEMS
from bench.swap_suite.work import Work

PACKAGES = ("sllm-actors", "xllamacpp")
WANTED = 2.0
"""Times as many requests per second as first come, first served."""


@click.command()
@click.option("--models", type=click.IntRange(2, 100), default=8, show_default=True)
@click.option("--room", type=click.IntRange(1, 100), default=2, show_default=True, help="Engines at a time.")
@click.option("--clients", type=click.IntRange(1, 1000), default=32, show_default=True)
@click.option("--alpha", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Of Zipf's law.")
@click.option("--tokens", type=click.IntRange(1, 4096), default=16, show_default=True, help="Of an answer.")
@click.option("--seconds", type=click.FloatRange(min=1), default=45.0, show_default=True, help="Of asking.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
@click.option("--check", is_flag=True, help="Exit with status 1 when a figure is not what is wanted.")
def main(rounds: int, file: Path | None, check: bool, **work: Any) -> None:
    """Ask real llama.cpp engines in closed loops, through sllm and first come, first served, in turns."""
    before, asked = load(), Work(**work)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for number in range(rounds):
        for name, run in SYSTEMS.items():
            with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
                try:
                    answered, switches = run(Path(folder) / name, asked, number)
                except ClusterFailed as failure:
                    raise click.ClickException(str(failure)) from None
            found[name].append(answered.figures(switches))
            for failure_text in answered.failures[:3]:
                click.echo(f"  {name}: {failure_text}", err=True)
            click.echo(f"  {number + 1} {name}: {found[name][-1]['rps']:.2f} requests/s", err=True)
    systems = {
        name: {measure.name: median(each[measure.name] for each in figures) for measure in MEASURES}
        for name, figures in found.items()
    }
    ratio = systems["sllm"]["rps"] / systems["first-come"]["rps"]
    show(figures_table(systems, ratio))
    if file is not None:
        command = " ".join(["python", "bench/swapping.py", *sys.argv[1:]])
        conditions = {"command": command, "rounds": rounds, "load_before": before, **work}
        content = document(
            "swapping",
            machine=machine_facts(PACKAGES),
            measures=MEASURES,
            conditions=conditions,
            figures={"systems": systems},
        )
        write(file, {**content, "ratio": ratio, "rounds": found})
        click.echo(f"written to {file}", err=True)
    lost = systems["sllm"]["errors"]
    if lost or (check and ratio < WANTED):
        click.echo(
            f"error: {lost:g} requests failed" if lost else f"error: {ratio:.2f} times is too few", err=True
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
