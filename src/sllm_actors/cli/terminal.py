"""The one place that commands write from, and what may reach a terminal.

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
from rich.console import Console
from rich.text import Text

from sllm_actors.observe.terminal_text import TerminalFilter, one_line, printable

from .text_table import TextTable

WIDTH_OF_A_PIPE = 2**16


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
        yield lambda text: line.update(Text(one_line(text)))


def is_interactive(*, err: bool = False) -> bool:
    """Say whether a person reads standard output, or standard error."""
    return (sys.stderr if err else sys.stdout).isatty()


def show(shown: TextTable) -> None:
    """Print a table. In a pipe every row is one line, however wide, and every column is there."""
    person = is_interactive()
    console = Console(highlight=False, width=None if person else WIDTH_OF_A_PIPE)
    console.print(shown.rendered(compact=person))
