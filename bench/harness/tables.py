"""Tables for the terminal, and for pages of documentation."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

WIDEST = 240
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


def markdown(shown: Table) -> str:
    """Return a table as Markdown, without its title."""
    shown.box = box.MARKDOWN
    shown.title = None
    shown.pad_edge = True
    text = io.StringIO()
    Console(file=text, width=10_000, color_system=None).print(shown)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())
