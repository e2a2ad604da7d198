"""What is read from the tables of the head's store, and the checks that nothing is passed over.

Each result is fetched whole: a cursor that is left in the middle would keep SQLite at what it was then.
"""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa
from attrs import fields_dict, frozen
from sqlalchemy.engine import Connection

from sllm_actors.files import make_record
from sllm_actors.serving.deployment.document import read_document

from . import schema
from .problem import unreadable
from .records import (
    DeletionRecord,
    DeploymentRecord,
    JournalEntry,
    NodeKey,
    NodeRecord,
    RevisionRecord,
    StoredState,
)

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
    """Return all that the store holds, but for keys and the journal.

    Raises:
        StoreProblem: A row is not what this program writes.
    """
    (about,) = _records(connection, sa.select(schema.ABOUT), _About, "what is said about it", store)
    revisions = sa.select(schema.REVISIONS).order_by(schema.REVISIONS.c.uid, schema.REVISIONS.c.revision)
    deployments = sa.select(schema.DEPLOYMENTS).order_by(schema.DEPLOYMENTS.c.id, schema.DEPLOYMENTS.c.uid)
    deletions = sa.select(schema.DELETIONS).order_by(schema.DELETIONS.c.at, schema.DELETIONS.c.uid)
    nodes = sa.select(schema.NODES).order_by(schema.NODES.c.id)
    last = sa.select(schema.LAST_REVISIONS).order_by(schema.LAST_REVISIONS.c.id)
    last_revisions = _records(connection, last, _LastRevision, "the last revision of", store)
    return StoredState(
        fresh=about.fresh,
        epoch=about.epoch,
        deployments=_records(connection, deployments, DeploymentRecord, "the deployment", store),
        revisions=_records(connection, revisions, RevisionRecord, "a revision of the deployment", store),
        deletions=_records(connection, deletions, DeletionRecord, "the deleted deployment", store),
        nodes=_records(connection, nodes, NodeRecord, "the node", store),
        last_revisions={each.id: each.revision for each in last_revisions},
    )


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


def read_journal(connection: Connection, store: str, limit: int, before: int | None) -> list[JournalEntry]:
    """Return at most ``limit`` entries with lower numbers than ``before``, the newest first.

    Raises:
        StoreProblem: A row is not what this program writes.
    """
    number = schema.JOURNAL.c.number
    select = sa.select(schema.JOURNAL).order_by(number.desc()).limit(limit)
    if before is not None:
        select = select.where(number < before)
    return list(_records(connection, select, JournalEntry, "an entry of the journal", store))


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
            found = read_document(revision.document)[0].id
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


def _records(
    connection: Connection, select: sa.Select[Any], kind: type[T], what: str, store: str
) -> tuple[T, ...]:
    columns = list(fields_dict(kind))  # type: ignore[arg-type]  # each kind is an attrs class
    found = []
    row: Any = {}
    try:
        for row in connection.execute(select).mappings().all():
            found.append(make_record({column: row[column] for column in columns}, kind))
    except (ValueError, TypeError) as error:
        key = row.get("id") or row.get("uid") or row.get("number") or ""
        raise unreadable(f"{what} {key}".rstrip(), store, error) from None
    return tuple(found)
