"""Files beside the head's database that hold a part of it once more, for when it is lost.

Each is written behind the database, whole, and read only where a database is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import sqlalchemy as sa
from attrs import define, frozen
from sqlalchemy.engine import Connection

from sllm_actors import __version__
from sllm_actors.files import FileProblem, put_aside, read_record, write_whole

from .problem import StoreProblem
from .rows import rows_in_pages
from .writes import StoreWrite

FORMAT: Final = 1
"""The number of this form of all these files."""

LARGEST: Final = 1024 * 1024 * 1024
"""The most bytes that are read."""

_PIECE = 64 * 1024

T = TypeVar("T")


@frozen
class _Head:
    """What files of every format begin with."""

    format: int
    program: str


@define(eq=False)
class FileBeside:
    """One of these files, and whether it is as new as the database.

    Attributes:
        path: The file.
        holds: What it holds, as messages call it: ``deployments``.
        changes: Says whether writes to the database change what it holds.
        lines: Yields what it holds, as ``write_beside`` wants it.
        changed: How often that was changed. The file may be older than the database at first.
        written: How many of these changes are in the file.
    """

    path: Path
    holds: str
    changes: Callable[[Iterable[StoreWrite]], bool]
    lines: Callable[[Connection], Iterator[str]]
    changed: int = 1
    written: int = 0

    @property
    def is_behind(self) -> bool:
        """Whether the file may be older than the database."""
        return self.written < self.changed


def write_beside(path: Path, lines: Iterator[str], now: float) -> None:
    """Write a file whole, of mode 0600; it is on disk when this returns.

    Args:
        path: The file.
        lines: The members of a JSON object, with a comma before each, in lines: no step may hold up the other
            threads for long.
        now: Seconds since the epoch.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    write_whole(path, _in_pieces(_whole(lines, now)), durable=True)


def read_beside(
    path: Path, kind: type[T], check: Callable[[T], None], *, without: str, meaning: str
) -> T | None:
    """Return what a file holds, or None where it is not there; a damaged one is put aside with a warning.

    Args:
        path: The file.
        kind: An attrs class.
        check: Raises ``FileProblem`` for what is damaged, or ``StoreProblem`` for what may not be lost.
        without: What there will be none of without the file: ``deployments``.
        meaning: See ``put_aside``.

    Raises:
        StoreProblem: It was written by a later version, or cannot be moved aside; see ``check``.
    """
    try:
        try:
            head = read_record(path, _Head, LARGEST)
            if head is None:
                return None
            if head.format > FORMAT:
                raise StoreProblem(
                    f"{path} has format {head.format} of sllm_actors {head.program:.40}, this program reads"
                    f" {FORMAT}: {remedy(without)}"
                )
            found = read_record(path, kind, LARGEST)
            if found is not None:
                check(found)
        except FileProblem as problem:
            put_aside(problem, meaning)
            return None
    except FileProblem as problem:
        raise StoreProblem(str(problem)) from None
    return found


def remedy(without: str) -> str:
    """Return what to do about a file that this version cannot use."""
    return f"use the version that wrote it, or move it away to begin without {without}"


def list_of(connection: Connection, table: sa.Table, name: str) -> Iterator[str]:
    """Yield a member for ``write_beside``: a list of the rows of a table, a row in each line."""
    yield f',\n"{name}": ['
    yield from separated(json.dumps(row) for row in rows_in_pages(connection, table))
    yield "]"


def separated(values: Iterable[str]) -> Iterator[str]:
    """Yield values in lines, with commas between them."""
    before = "\n "
    for value in values:
        yield f"{before}{value}"
        before = ",\n "


def _whole(lines: Iterator[str], now: float) -> Iterator[str]:
    yield f'{{"format": {FORMAT}, "program": {json.dumps(__version__)}, "written": {json.dumps(now)}'
    yield from lines
    yield "}\n"


def _in_pieces(lines: Iterator[str]) -> Iterator[bytes]:
    piece = bytearray()
    for line in lines:
        piece += line.encode()
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
