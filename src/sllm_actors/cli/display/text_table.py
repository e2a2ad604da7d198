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

GAP = 2
"""Columns between two columns of a table."""

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
        narrow: Further columns that stand there where the terminal is too narrow for all: as many of them as
            need be, the first one first.
        rows: The rows, each with a cell for each column.
    """

    columns: tuple[str, ...]
    header: bool = True
    below: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    rows: list[tuple[Cell, ...]] = field(factory=list)

    def add_row(self, *cells: Cell) -> None:
        """Add a row with a cell for each column."""
        self.rows.append(cells)

    def rendered(self, *, compact: bool) -> RenderableType:
        """Return the table for rich to print.

        Args:
            compact: Whether it has to fit a terminal: then columns with nothing in them are left out, and
                those of ``below`` and ``narrow`` stand below their row.
        """
        everything = range(len(self.columns))
        if not compact:
            return self.table(everything)
        filled = [
            each for each in everything if not self.rows or any(text != NOTHING for text in self._texts(each))
        ]
        return _WithNotes(self, filled) if self.below else self.table(filled)

    def _texts(self, number: int) -> list[str]:
        return [str(row[number]) for row in self.rows]

    def _width(self, number: int) -> int:
        return max(map(cell_len, self._texts(number)), default=0)

    def table(self, numbers: Iterable[int]) -> Table:
        """Return the table with these of its columns only."""
        made = Table(
            box=None, pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0), show_header=self.header
        )
        kept = list(numbers)
        for each in kept:
            made.add_column(self.columns[each], overflow="fold", no_wrap=self._width(each) <= NARROW)
        for row in self.rows:
            cells = [row[each] for each in kept]
            made.add_row(*(Text(str(each)) if isinstance(each, Notes) else each for each in cells))
        return made

    def beside(self, filled: Iterable[int], width: int) -> list[int]:
        """Return which columns stand beside each other where there is room for ``width`` characters."""
        beside = [each for each in filled if self.columns[each] not in self.below]
        for name in self.narrow:
            if self._least(beside) <= width:
                break
            beside = [each for each in beside if self.columns[each] != name]
        return beside

    def _least(self, numbers: Iterable[int]) -> int:
        widths = [max(len(self.columns[each]), min(self._width(each), NARROW)) for each in numbers]
        return sum(widths) + GAP * (len(widths) - 1)

    def notes(self, row: tuple[Cell, ...], columns: Iterable[str]) -> list[str]:
        """Return what stands below a row: its cells of these columns."""
        notes = []
        for name in columns:
            found = row[self.columns.index(name)]
            sentences = found.sentences if isinstance(found, Notes) else [str(found)]
            prefix = "" if name == self.below[0] else f"{name.lower()}: "
            notes += [f"{prefix}{each}" for each in sentences if each != NOTHING]
        return notes


class _WithNotes:
    """A table each of whose rows is one line, with notes below the rows."""

    def __init__(self, shown: TextTable, filled: list[int]) -> None:
        self._shown = shown
        self._filled = filled

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._shown
        beside = shown.beside(self._filled, options.max_width)
        names = {shown.columns[each] for each in beside}
        lowered = [*shown.below, *(name for name in shown.narrow if name not in names)]
        lines = console.render_lines(shown.table(beside), options, pad=False)
        above = len(lines) - len(shown.rows)  # the header
        for number, line in enumerate(lines):
            yield from line
            yield Segment.line()
            for note in shown.notes(shown.rows[number - above], lowered) if number >= above else ():
                yield Padding(Text(note, overflow="fold"), (0, 0, 0, INDENT))


def table(
    *columns: str, header: bool = True, below: tuple[str, ...] = (), narrow: tuple[str, ...] = ()
) -> TextTable:
    """Return a table with these columns and no rows; see ``TextTable``."""
    return TextTable(columns, header, below, narrow)


def cell(value: object) -> Name:
    """Return a table cell of one line that shows ``value``, never as markup; None and "" as ``NOTHING``."""
    return Name(one_line(str(value)) if value not in (None, "") else NOTHING)


def sentence(value: str | None) -> Text:
    """Return a table cell whose text is never cut: it goes over several lines where the column is narrow."""
    return Text(one_line(value) if value else NOTHING)
