"""What may be written to a terminal, and how tables are."""

from __future__ import annotations

import re
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_OF_A_PIPE = 2**16

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return ``text`` without control characters: what a model says must not steer the terminal."""
    return _CONTROLS.sub("", text)


def is_interactive() -> bool:
    """Say whether a person reads standard output."""
    return sys.stdout.isatty()


def table(*columns: str) -> Table:
    """Return an empty table in the style of all commands: no borders, one line per row."""
    made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def cell(value: object) -> Text:
    """Return a table cell that shows ``value`` as it is, never as markup; None and nothing as a dash."""
    return Text(printable(str(value)) if value not in (None, "") else "-")


def show(shown: Table) -> None:
    """Print a table. In a pipe every row is one line, however wide: nothing is cut or folded there."""
    console = Console(highlight=False, width=None if is_interactive() else WIDTH_OF_A_PIPE)
    console.print(shown)
