"""All output of commands goes through here, so that nothing in it can steer the terminal.

Names, reasons and log lines come from engines and models. So every text goes through the filter of
``observe.terminal_text``, for a pipe too, since a pipe often ends at a terminal (``| less``, ``| tail``).
JSON is not filtered: control characters are escaped in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from sllm_actors.observe.terminal_text import TerminalFilter, one_line, printable

from .text_table import TextTable

WIDTH_OF_A_PIPE = 2**16
"""Columns that a table may have where it is not shown at a terminal."""


def say(text: str = "") -> None:
    """Print a text and a newline to standard output."""
    click.echo(printable(text))


def complain(text: str) -> None:
    """Print a text and a newline to standard error."""
    click.echo(printable(text), err=True)


def say_json(answer: object) -> None:
    """Print an object as JSON, with everything that is not ASCII escaped."""
    click.echo(json.dumps(answer, indent=2))


def say_raw(text: str) -> None:
    """Print a text exactly as it is, control characters too: only for a person who asked for that."""
    click.echo(text, nl=False, color=True)


@contextmanager
def saying_pieces() -> Iterator[Callable[[str], None]]:
    """Give a function that prints the next piece of a text to standard output at once, without a newline."""
    filtered = TerminalFilter()
    try:
        yield lambda piece: click.echo(filtered.feed(piece), nl=False)
    finally:
        if rest := filtered.feed("", last=True):
            click.echo(rest, nl=False)


@contextmanager
def moving_line(*, err: bool = False) -> Iterator[Callable[[str], None]]:
    """Give a function that replaces the text of one line of a terminal; the line is removed at the end.

    Args:
        err: Whether the line is on standard error instead of standard output.
    """
    with Console(highlight=False, stderr=err).status("") as line:
        yield lambda text: line.update(Text(one_line(text)))


def is_interactive(*, err: bool = False) -> bool:
    """Say whether standard output, or with ``err`` standard error, is a terminal."""
    return (sys.stderr if err else sys.stdout).isatty()


def show(shown: TextTable) -> None:
    """Print a table to standard output. If that is no terminal, each row is one line and nothing is cut."""
    person = is_interactive()
    console = Console(highlight=False, width=None if person else WIDTH_OF_A_PIPE)
    console.print(shown.rendered(compact=person))
