"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from .comparison import Change
from .measures import NOTHING, number

WIDEST = 200
"""Columns of a table that goes to a file or a pipe."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> Table:
    """Return a table; all columns but the first ``texts`` are numbers and stand to the right."""
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index < texts else "right", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    return shown


def show(*tables: Table) -> None:
    """Print tables: as wide as they need in a file or a pipe."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDEST)
    for each in tables:
        console.print(each)


def comparison_table(changes: Iterable[Change]) -> Table:
    """Return the table of a comparison; ``gain`` is over 1 where the later file is better."""
    return table(
        "before and after",
        ("subject", "measure", "before", "after", "unit", "gain", ""),
        (
            (
                change.subject,
                change.measure.name,
                number(change.before),
                number(change.after),
                change.measure.unit,
                NOTHING if change.gain is None else f"{change.gain:.2f}",
                change.verdict.value,
            )
            for change in changes
        ),
        texts=2,
    )


def as_markdown(shown: Table) -> Table:
    """Make a table print itself as Markdown, without its title; return it."""
    shown.box = box.MARKDOWN
    shown.title = None
    shown.pad_edge = True
    return shown
