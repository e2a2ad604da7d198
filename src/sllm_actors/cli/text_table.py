"""Tables of text: how cells are shown, and what is shortened where a terminal is too narrow."""

from __future__ import annotations

from attrs import define, field
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sllm_actors.observe.terminal_text import one_line

NARROW = 10
"""A column whose cells have at most this many characters is never cut while there are wider ones."""

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


@define
class TextTable:
    """A table without borders.

    Attributes:
        columns: The names of the columns.
        header: Whether these names are printed.
        rows: The rows, each with a cell for each column.
    """

    columns: tuple[str, ...]
    header: bool = True
    rows: list[tuple[Name | Text, ...]] = field(factory=list)

    def add_row(self, *cells: Name | Text) -> None:
        """Add a row with a cell for each column."""
        self.rows.append(cells)

    def rendered(self, *, compact: bool) -> Table:
        """Return the table for rich to print.

        Args:
            compact: Whether it has to fit a terminal: then columns with nothing in them are left out.
        """
        made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), show_header=self.header)
        kept = []
        for number, name in enumerate(self.columns):
            texts = [str(row[number]) for row in self.rows]
            if not compact or not texts or any(text != NOTHING for text in texts):
                kept.append(number)
                width = max(map(cell_len, texts), default=0)
                made.add_column(name, overflow="fold", no_wrap=width <= NARROW)
        for row in self.rows:
            made.add_row(*(row[number] for number in kept))
        return made


def table(*columns: str, header: bool = True) -> TextTable:
    """Return a table with these columns and no rows."""
    return TextTable(columns, header)


def cell(value: object) -> Name:
    """Return a table cell of one line that shows ``value``, never as markup; None and "" as ``NOTHING``."""
    return Name(one_line(str(value)) if value not in (None, "") else NOTHING)


def sentence(value: str | None) -> Text:
    """Return a table cell whose text is never cut: it goes over several lines where the column is narrow."""
    return Text(one_line(value) if value else NOTHING)
