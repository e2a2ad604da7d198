"""What is read from the tables of the head's store, and the checks that nothing is passed over.

Each result is fetched whole: a cursor that is left in the middle would keep SQLite at what it was then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from attrs import fields_dict, frozen
from sqlalchemy.engine import Connection

from sllm_actors.files import make_record

from . import schema
from .problem import unreadable
from .records import (
    ApiKeyRecord,
    DeletionRecord,
    DeploymentRecord,
    MeasuredRecord,
    NodeKey,
    NodeRecord,
    PausesRecord,
    RevisionRecord,
    StoredState,
)

log = structlog.get_logger("sllm_actors.store")

T = TypeVar("T")


@frozen
class _About:
    epoch: int
    fresh: bool


@frozen
class _LastRevision:
    id: str
    revision: int


def read_state(connection: Connection, store: str) -> StoredState:
    """Return all that the store holds, but for the keys of nodes and the journal.

    Raises:
        StoreProblem: A row is not what this program writes.
    """

    def all_of(table: sa.Table, kind: type[T], what: str) -> list[T]:
        return read_records(rows_in_pages(connection, table), kind, what, store)

    rows = connection.execute(sa.select(schema.ABOUT)).mappings().all()
    (about,) = read_records(rows, _About, "what is said about it", store)
    deployments = all_of(schema.DEPLOYMENTS, DeploymentRecord, "the deployment")
    revisions = all_of(schema.REVISIONS, RevisionRecord, "a revision of the deployment")
    deletions = all_of(schema.DELETIONS, DeletionRecord, "the deleted deployment")
    nodes = all_of(schema.NODES, NodeRecord, "the node")
    last_revisions = all_of(schema.LAST_REVISIONS, _LastRevision, "the last revision of")
    uids = {each.uid for each in deployments}
    measured = all_of(schema.MEASURED, MeasuredRecord, "what was measured")
    api_keys = all_of(schema.API_KEYS, ApiKeyRecord, "the API key")
    # Sorted here: PostgreSQL's order of texts is that of its language.
    return StoredState(
        fresh=about.fresh,
        epoch=about.epoch,
        deployments=tuple(sorted(deployments, key=lambda each: (each.id, each.uid))),
        revisions=tuple(sorted(revisions, key=lambda each: (each.uid, each.revision))),
        deletions=tuple(sorted(deletions, key=lambda each: (each.at, each.uid))),
        nodes=tuple(sorted(nodes, key=lambda each: each.id)),
        last_revisions={each.id: each.revision for each in last_revisions},
        measured=tuple(sorted(measured, key=lambda each: (each.at, each.engine))),
        pauses={each.uid: each for each in _read_pauses(connection, store) if each.uid in uids},
        api_keys=tuple(sorted(api_keys, key=lambda each: each.name)),
    )


def _read_pauses(connection: Connection, store: str) -> Iterator[PausesRecord]:
    """Yield the pauses that can be read. Others are learned anew, as one line of the log says."""
    unread: list[str] = []
    why = ""
    for row in rows_in_pages(connection, schema.PAUSES):
        try:
            record = make_record(row, PausesRecord)
            record.counts  # noqa: B018 - reads it
        except (ValueError, TypeError) as problem:
            unread.append(str(row["uid"]))
            why = str(problem)
        else:
            yield record
    if unread:
        log.warning("store.pauses_unread", store=store, deployments=len(unread), first=unread[0], reason=why)


def read_keys(connection: Connection, store: str) -> dict[str, NodeKey]:
    """Return the key of each node, by node.

    Raises:
        StoreProblem: A row is not what this program writes.
    """
    found = {}
    for row in connection.execute(sa.select(schema.NODE_KEYS)).all():
        try:
            found[row.node] = NodeKey(row.role, bytes.fromhex(row.public_key))
        except (ValueError, TypeError):
            raise unreadable(f"the key of the node {row.node}", store, "it is not in hex") from None
    return found


def rows_in_pages(connection: Connection, table: sa.Table, size: int = 100) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table by their primary keys, so many fetched at a time.

    A thread that takes them holds up the other threads for no longer than a page takes.
    """
    keys = list(table.primary_key.columns)
    first, later = _selects(table, size)
    page = connection.execute(first).mappings().all()
    while page:
        yield from map(dict, page)
        last = {_after(key): page[-1][key.name] for key in keys}
        page = connection.execute(later, last).mappings().all()


@lru_cache(maxsize=32)  # made anew for each page, they would be most of the head's cyclic garbage
def _selects(table: sa.Table, size: int) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return what selects the first page of a table, and what selects the one behind the last row's keys."""
    keys = list(table.primary_key.columns)
    first = sa.select(table).order_by(*keys).limit(size)
    last = [sa.bindparam(_after(key), type_=key.type) for key in keys]
    return first, first.where(sa.tuple_(*keys) > sa.tuple_(*last))


def _after(key: sa.Column[Any]) -> str:
    return f"after_{key.name}"


def check_deployments(state: StoredState) -> None:
    """Check that every deployment has the revisions that it speaks of, and every document can be read.

    None is to be passed over: the head stops replicas whose deployment it does not know.

    Raises:
        ValueError: One is not whole; one line names it and says why.
    """
    ids = {each.uid: each.id for each in state.deployments}
    known = set()
    for revision in state.revisions:
        known.add((revision.uid, revision.revision))
        name = ids.get(revision.uid)
        try:
            found = revision.spec.id
        except ValueError as problem:  # a DeploymentProblem is one
            raise UnreadableDeployment(name or revision.uid, str(problem)) from None
        if found != name:
            raise UnreadableDeployment(name or revision.uid, f"revision {revision.revision} is of {found}")
    for each in state.deployments:
        for number in {each.current, each.target} - {None}:
            if (each.uid, number) not in known:
                raise UnreadableDeployment(each.id, f"its revision {number} is missing")


class UnreadableDeployment(ValueError):
    """A deployment that is kept cannot be read.

    Attributes:
        deployment: Its id.
        why: What is wrong with it.
    """

    def __init__(self, deployment: str, why: str) -> None:
        super().__init__(f"the deployment {deployment} cannot be read ({why})")
        self.deployment = deployment
        self.why = why


def read_records(rows: Iterable[Mapping[Any, Any]], kind: type[T], what: str, store: str) -> list[T]:
    """Return rows as records of a kind.

    Args:
        rows: By column.
        kind: An attrs class that has a column for each attribute.
        what: What one of them is called in messages, before its key.
        store: The name of the store.

    Raises:
        StoreProblem: A row is not what this program writes.
    """
    columns = list(fields_dict(kind))  # type: ignore[arg-type]  # each kind is an attrs class
    found = []
    row: Mapping[Any, Any] = {}
    try:
        for row in rows:
            found.append(make_record({column: row[column] for column in columns}, kind))
    except (ValueError, TypeError) as error:
        key = row.get("id") or row.get("uid") or row.get("name") or row.get("number") or ""
        raise unreadable(f"{what} {key}".rstrip(), store, error) from None
    return found
