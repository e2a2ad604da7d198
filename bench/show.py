"""Show a result file of a benchmark again: ``python bench/show.py FILE [--markdown] [--plot FILE.png]``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.actor_suite import report as actors
from bench.cold_suite import report as cold_start
from bench.control_suite import report as control_plane
from bench.gateway_suite import plot as gateway_plot
from bench.gateway_suite import report as gateway
from bench.gpu import report as gpu_proofs
from bench.harness.results import BadResults, read
from bench.harness.tables import as_markdown, show
from bench.swap_suite import report as swapping
from bench.trace_suite import plot as trace_plot
from bench.trace_suite import report as trace_sim

REPORTS = {
    "actors": actors.tables,
    "cold_start": cold_start.tables,
    "control_plane": control_plane.tables,
    "gateway": gateway.tables,
    "gpu_proofs": gpu_proofs.tables,
    "swapping": swapping.tables,
    "trace_sim": trace_sim.tables,
}
PLOTS = {"gateway": gateway_plot.draw, "trace_sim": trace_plot.draw}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--markdown", is_flag=True, help="As tables for a page of documentation.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the main figures there, too."
)
def main(file: Path, markdown: bool, plot: Path | None) -> None:
    """Print the tables that the benchmark printed."""
    try:
        content = read(file)
    except BadResults as error:
        raise click.ClickException(str(error)) from error
    report = REPORTS.get(content.get("benchmark", ""))
    if report is None:
        known = ", ".join(REPORTS)
        raise click.ClickException(f"{file} is of no benchmark that has tables: they are {known}")
    shown = report(content)
    if plot is not None:
        draw = PLOTS.get(content["benchmark"])
        if draw is None:
            raise click.ClickException(
                f"{file} is of no benchmark that has a plot: they are {', '.join(PLOTS)}"
            )
        if not gateway_plot.possible():
            raise click.ClickException(gateway_plot.REMEDY)
        draw(content, plot)
    show(*map(as_markdown, shown) if markdown else shown)


if __name__ == "__main__":
    main()
