"""The journal's table: adding entries, dropping the oldest, and reading them by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from attrs import asdict
from sqlalchemy.engine import Connection

from . import schema
from .database import Database
from .journal_filter import JournalFilter
from .records import JournalEntry
from .rows import read_records

JOURNAL_KEPT: Final = 100_000
"""Entries that the journal keeps; the newest."""

JOURNAL_CHUNK: Final = 1_000
"""Entries by which the journal may be longer, before the oldest are dropped together."""

JOURNAL_AGE: Final = 30 * 86400
"""Seconds before the newest entry from which on entries are dropped, when the next chunk is."""

MICRO: Final = 1_000_000
"""Numbers in a second: an entry is numbered by the time, in microseconds since the epoch."""


def add_entries(database: Database, connection: Connection, entries: Sequence[JournalEntry]) -> None:
    """Add entries, each in place of the one with the same number: what is tried again is not there twice."""
    if entries:
        database.put(connection, schema.JOURNAL, [asdict(entry, recurse=False) for entry in entries])


def drop_old_entries(connection: Connection) -> None:
    """Drop all entries but the ``JOURNAL_KEPT`` newest, and those older than ``JOURNAL_AGE``."""
    number = schema.JOURNAL.c.number
    newest = sa.select(number).order_by(number.desc())
    last = connection.execute(newest.limit(1)).scalar()
    if last is None:
        return
    surplus = connection.execute(newest.offset(JOURNAL_KEPT).limit(1)).scalar() or 0
    bound = max(surplus, last - JOURNAL_AGE * MICRO)
    connection.execute(schema.JOURNAL.delete().where(number <= bound))


def read_entries(
    connection: Connection,
    store: str,
    limit: int,
    after: int | None,
    until: int | None,
    wanted: JournalFilter,
) -> list[JournalEntry]:
    """Return entries; see ``Store.journal``.

    Raises:
        StoreProblem: A row is not what this program writes.
    """
    columns = schema.JOURNAL.c
    select = sa.select(schema.JOURNAL).where(*_conditions(wanted)).limit(limit)
    if until is not None:
        select = select.where(columns.number <= until)
    if after is None:
        select = select.order_by(columns.number.desc())
    else:
        select = select.where(columns.number > after).order_by(columns.number)
    rows = connection.execute(select).mappings().all()
    found = read_records(rows, JournalEntry, "an entry of the journal", store)
    return found[::-1] if after is None else found


def _conditions(wanted: JournalFilter) -> list[sa.ColumnElement[bool]]:
    """Return what ``JournalFilter.passes`` says, for the database. Its LIKE would not tell A from a."""
    columns, subject, kind = schema.JOURNAL.c, wanted.subject, wanted.kind
    conditions: list[sa.ColumnElement[bool]] = []
    if kind:
        conditions.append((columns.kind == kind) | _begins(columns.kind, f"{kind}."))
    if subject:
        backend = sa.func.substr(columns.subject, len(subject) + 2)
        of_model = _begins(columns.subject, f"{subject}:") & (sa.func.replace(backend, ":", "") == backend)
        conditions.append((columns.subject == subject) | (columns.node == subject) | of_model)
    return conditions


def _begins(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(column, 1, len(text)) == text
