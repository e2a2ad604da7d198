"""The one place that commands write from: what may reach a terminal, and how tables are.

Whatever is said goes through the filter of ``observe.terminal_text``: names, reasons and log lines come from
elsewhere. A pipe makes no difference, as it often ends at a terminal (``| less``, ``| tail``). JSON is whole:
control characters are escaped in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sllm_actors.observe.terminal_text import TerminalFilter, one_line, printable

WIDTH_OF_A_PIPE = 2**16

NARROWEST_NAME = 8
"""Columns that a name keeps, however narrow the terminal is."""


def say(text: str = "") -> None:
    """Print a text and a newline to standard output."""
    click.echo(printable(text))


def complain(text: str) -> None:
    """Print a text and a newline to standard error."""
    click.echo(printable(text), err=True)


def say_json(answer: object) -> None:
    """Print an object as JSON, all of it."""
    click.echo(json.dumps(answer, indent=2))


def say_raw(text: str) -> None:
    """Print a text exactly as it is: for who has asked for that."""
    click.echo(text, nl=False, color=True)


@contextmanager
def saying_pieces() -> Iterator[Callable[[str], None]]:
    """Give a function that prints the next piece of a text at once, newlines only where the text has them."""
    filtered = TerminalFilter()
    try:
        yield lambda piece: click.echo(filtered.feed(piece), nl=False)
    finally:
        if rest := filtered.feed("", last=True):
            click.echo(rest, nl=False)


@contextmanager
def moving_line(*, err: bool = False) -> Iterator[Callable[[str], None]]:
    """Give a function that replaces the text of one line, at a terminal, which is gone in the end."""
    with Console(highlight=False, stderr=err).status("") as line:
        yield lambda text: line.update(escape(one_line(text)))


def is_interactive(*, err: bool = False) -> bool:
    """Say whether a person reads standard output, or standard error."""
    return (sys.stderr if err else sys.stdout).isatty()


class Name:
    """A table cell that stays one line. Where it is wider than its place, its middle is left out: both ends
    tell a name apart from others."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_measure__(self, _console: Console, _options: ConsoleOptions) -> Measurement:
        width = cell_len(self._text)
        return Measurement(min(width, NARROWEST_NAME), width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shortened(self._text, options.max_width), no_wrap=True)


def shortened(text: str, width: int) -> str:
    """Return a text of at most ``width`` columns, with an ellipsis in the middle where it was longer."""
    if cell_len(text) <= width:
        return text
    begin = set_cell_size(text, width - width // 2 - 1).rstrip()
    end = text[len(text) - width // 2 :]
    while cell_len(end) > width // 2:
        end = end[1:]
    return f"{begin}…{end}"


def table(*columns: str) -> Table:
    """Return an empty table in the style of all commands: no borders, one line per row."""
    made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def cell(value: object) -> Name:
    """Return a table cell that shows ``value`` as it is, never as markup; None and nothing as a dash."""
    return Name(one_line(str(value)) if value not in (None, "") else "-")


def sentence(value: str | None) -> Text:
    """Return a table cell with a text that is told whole: over several lines where its place is narrow."""
    return Text(one_line(value) if value else "-")


def show(shown: Table) -> None:
    """Print a table. In a pipe every row is one line, however wide: nothing is cut or folded there."""
    console = Console(highlight=False, width=None if is_interactive() else WIDTH_OF_A_PIPE)
    console.print(shown)
