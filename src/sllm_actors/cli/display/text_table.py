"""Tables of text: how cells are shown, and what is shortened where a terminal is too narrow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from attrs import define, field
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sllm_actors.observe.terminal_text import one_line

NARROW = 10
"""A column whose cells have at most this many characters is never cut while there are wider ones."""

INDENT = 2
"""Columns by which what stands below a row is indented."""

NOTHING = "-"
"""What a cell shows when there is nothing to show."""


class Name:
    """A table cell of one line. If it is too wide, its middle is left out, since names often begin alike."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __rich_measure__(self, _console: Console, _options: ConsoleOptions) -> Measurement:
        width = cell_len(self._text)
        return Measurement(min(width, NARROW), width)

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


class Notes:
    """A table cell with any number of sentences; none of them is ever cut."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = [one_line(each) for each in sentences if each]

    def __str__(self) -> str:
        return "; ".join(self.sentences) or NOTHING


Cell: TypeAlias = Name | Text | Notes


@define
class TextTable:
    """A table without borders.

    Attributes:
        columns: The names of the columns.
        header: Whether these names are printed.
        below: Columns whose cells stand below the other cells of their row at a terminal, so that there is
            room for them: each of their sentences on lines of its own. The names of all but the first of
            them are put before them.
        rows: The rows, each with a cell for each column.
    """

    columns: tuple[str, ...]
    header: bool = True
    below: tuple[str, ...] = ()
    rows: list[tuple[Cell, ...]] = field(factory=list)

    def add_row(self, *cells: Cell) -> None:
        """Add a row with a cell for each column."""
        self.rows.append(cells)

    def rendered(self, *, compact: bool) -> RenderableType:
        """Return the table for rich to print.

        Args:
            compact: Whether it has to fit a terminal: then columns with nothing in them are left out, and
                those of ``below`` stand below their row.
        """
        made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), show_header=self.header)
        kept = []
        for number, name in enumerate(self.columns):
            texts = [str(row[number]) for row in self.rows]
            lowered = compact and name in self.below
            if not lowered and (not compact or not texts or any(text != NOTHING for text in texts)):
                kept.append(number)
                width = max(map(cell_len, texts), default=0)
                made.add_column(name, overflow="fold", no_wrap=width <= NARROW)
        for row in self.rows:
            cells = [row[number] for number in kept]
            made.add_row(*(Text(str(each)) if isinstance(each, Notes) else each for each in cells))
        if not compact or not self.below:
            return made
        return _WithNotes(made, [self._notes(row) for row in self.rows])

    def _notes(self, row: tuple[Cell, ...]) -> list[str]:
        """Return what stands below a row."""
        notes = []
        for name in self.below:
            found = row[self.columns.index(name)]
            sentences = found.sentences if isinstance(found, Notes) else [str(found)]
            prefix = "" if name == self.below[0] else f"{name.lower()}: "
            notes += [f"{prefix}{each}" for each in sentences if each != NOTHING]
        return notes


class _WithNotes:
    """A table each of whose rows is one line, with notes below the rows."""

    def __init__(self, rows: Table, notes: list[list[str]]) -> None:
        self._rows = rows
        self._notes = notes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._rows, options, pad=False)
        above = len(lines) - len(self._notes)  # the header
        for number, line in enumerate(lines):
            yield from line
            yield Segment.line()
            for note in self._notes[number - above] if number >= above else ():
                yield Padding(Text(note, overflow="fold"), (0, 0, 0, INDENT))


def table(*columns: str, header: bool = True, below: tuple[str, ...] = ()) -> TextTable:
    """Return a table with these columns and no rows; see ``TextTable``."""
    return TextTable(columns, header, below)


def cell(value: object) -> Name:
    """Return a table cell of one line that shows ``value``, never as markup; None and "" as ``NOTHING``."""
    return Name(one_line(str(value)) if value not in (None, "") else NOTHING)


def sentence(value: str | None) -> Text:
    """Return a table cell whose text is never cut: it goes over several lines where the column is narrow."""
    return Text(one_line(value) if value else NOTHING)
