"""Compare two result files of a benchmark: ``python bench/compare.py BEFORE.json AFTER.json``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.harness.comparison import NOISE, Verdict, compare, other_machine
from bench.harness.results import BadResults, read
from bench.harness.tables import comparison_table, show

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option("--noise", default=NOISE, show_default=True, help="Changes by a smaller share are called none.")
@click.option("--fail-on-worse", is_flag=True, help="Exit with status 1 when a figure got worse.")
def main(before: Path, after: Path, noise: float, fail_on_worse: bool) -> None:
    """Show every figure that both files have, and what became of it."""
    try:
        old, new = read(before), read(after)
        changes = compare(old, new, noise=noise)
    except BadResults as error:
        raise click.ClickException(str(error)) from error
    show(comparison_table(changes))
    warning = other_machine(old, new)
    if warning:
        click.echo(f"warning: {warning}", err=True)
    if fail_on_worse and any(change.verdict is Verdict.WORSE for change in changes):
        sys.exit(1)


if __name__ == "__main__":
    main()
