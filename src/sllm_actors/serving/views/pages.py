"""Pages of lists: they end where they have enough entries, grow too large, or have looked at enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import frozen

from .cursors import CursorKind, write_cursor

PAGE_SIZE = 2 * 2**20
"""Characters of JSON text after which a page ends; its last entry may go beyond."""

LOOKED_AT = 2000
"""How many entries are looked at for one page: with a filter, few of them may be for it."""


@frozen
class Section:
    """One list, from where the page begins.

    Attributes:
        name: What it is called in the answer.
        kind: The kind of its cursors.
        entries: Its entries, made one by one as they are looked at.
        key: Returns the key of an entry, for its cursor.
        passes: Says whether an entry passes the filters.
        text: Returns an entry as the text of a JSON object.
    """

    name: str
    kind: CursorKind
    entries: Iterator[Any]
    key: Callable[[Any], tuple[str, ...]]
    passes: Callable[[Any], bool]
    text: Callable[[Any], str]


@frozen
class ListPage:
    """A page.

    Attributes:
        lists: JSON text of a list for each section, by name.
        next: The cursor of the page that follows; "" behind the last one.
    """

    lists: dict[str, str]
    next: str


def fill(sections: Sequence[Section], limit: int) -> ListPage:
    """Return a page of at most ``limit`` entries of these lists, one list after the other."""
    found: dict[str, list[str]] = {section.name: [] for section in sections}
    count = size = looked = 0
    cursor: tuple[CursorKind, tuple[str, ...]] | None = None
    for section in sections:
        for entry in section.entries:
            if cursor is not None and (count >= limit or size >= PAGE_SIZE or looked >= LOOKED_AT):
                return ListPage(_joined(found), write_cursor(cursor[0], *cursor[1]))
            looked += 1
            cursor = section.kind, section.key(entry)
            if section.passes(entry):
                text = section.text(entry)
                found[section.name].append(text)
                count += 1
                size += len(text)
    return ListPage(_joined(found), "")


def _joined(found: dict[str, list[str]]) -> dict[str, str]:
    return {name: f"[{','.join(texts)}]" for name, texts in found.items()}
