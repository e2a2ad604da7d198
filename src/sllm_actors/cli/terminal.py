"""All output of commands goes through here, so that nothing in it can steer the terminal.

Names, reasons and log lines come from engines and models. So every text goes through the filter of
``observe.terminal_text``, for a pipe too, since a pipe often ends at a terminal (``| less``, ``| tail``).
JSON is not filtered: control characters are escaped in it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from io import StringIO

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from sllm_actors.observe.terminal_text import TerminalFilter, one_line, printable

from .display.text_table import TextTable

_frame: ContextVar[StringIO | None] = ContextVar("frame", default=None)

WIDTH_OF_A_PIPE = 2**16
"""Columns that a table may have where it is not shown at a terminal."""


def say(text: str = "") -> None:
    """Print a text and a newline to standard output."""
    click.echo(printable(text), file=_frame.get())


def say_to_person(text: str) -> None:
    """Print a text and a newline to standard output if that is a terminal: a script has no use for it."""
    if is_interactive():
        say(text)


def complain(text: str) -> None:
    """Print a text and a newline to standard error."""
    click.echo(printable(text), err=True)


def say_json(answer: object) -> None:
    """Print an object as JSON, with everything that is not ASCII escaped."""
    click.echo(json.dumps(answer, indent=2))


def say_json_line(answer: object) -> None:
    """Print an object as JSON on one line, as ``say_json`` does, and pass it on at once."""
    click.echo(json.dumps(answer, separators=(",", ":")))
    sys.stdout.flush()


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


@contextmanager
def moving_lines(*, err: bool = False) -> Iterator[Callable[[Callable[[int], list[str]]], None]]:
    """Give a function that replaces the text of some lines of a terminal; they are removed at the end.

    It takes a function that makes the lines for so many columns; what is longer is cut.

    Args:
        err: Whether the lines are on standard error instead of standard output.
    """
    console = Console(highlight=False, stderr=err)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def draw(lines_for: Callable[[int], list[str]]) -> None:
            text = "\n".join(map(one_line, lines_for(console.width)))
            live.update(Text(text, no_wrap=True), refresh=True)

        yield draw


def is_interactive(*, err: bool = False) -> bool:
    """Say whether standard output, or with ``err`` standard error, is a terminal."""
    return (sys.stderr if err else sys.stdout).isatty()


def show(shown: TextTable) -> None:
    """Print a table to standard output.

    If that is no terminal, each row is one line, nothing is cut, and no line ends in blanks.
    """
    person = is_interactive()
    width = None if person else WIDTH_OF_A_PIPE
    frame = _frame.get()
    styled = True if person and frame is not None else None  # a frame is a text, which is no terminal
    console = Console(highlight=False, width=width, file=frame, force_terminal=styled)
    if person:
        console.print(shown.rendered(compact=True))
        return
    with console.capture() as text:
        console.print(shown.rendered(compact=False))
    console.file.writelines(f"{line.rstrip()}\n" for line in text.get().splitlines())


@contextmanager
def frames() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Give a context manager for one picture of several that follow each other.

    What ``say`` and ``show`` print inside it is shown at its end: at a terminal in place of the picture
    before, cut to the height of the terminal; elsewhere below it, with a line between that has the time.
    """
    drawn = 0

    @contextmanager
    def frame() -> Iterator[None]:
        nonlocal drawn
        text = StringIO()
        token = _frame.set(text)
        try:
            yield
        finally:
            _frame.reset(token)
        if can_redraw():
            click.echo(_CLEAR + _fitting(text.getvalue()), nl=False, color=True)
        else:
            between = f"--- {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}\n" if drawn else ""
            click.echo(between + text.getvalue(), nl=False)
        drawn += 1

    yield frame


def can_redraw() -> bool:
    """Say whether standard output is a terminal whose screen can be cleared."""
    return is_interactive() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


_CLEAR = "\x1b[H\x1b[2J"


def _fitting(text: str) -> str:
    """Return what a screen has room for, with a last line about the rest."""
    lines = text.splitlines()
    room = shutil.get_terminal_size().lines - 1
    if len(lines) > room:
        kept = max(0, room - 1)
        lines = [*lines[:kept], f"… {len(lines) - kept} more lines: make the terminal higher"]
    return "".join(f"{line}\n" for line in lines)
