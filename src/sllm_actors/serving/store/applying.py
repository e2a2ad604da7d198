"""Applying writes to the tables of the head's store, inside one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa
from attrs import asdict
from sqlalchemy.engine import Connection

from . import schema
from .database import Database
from .journal import add_entries
from .writes import (
    AddJournal,
    DropApiKey,
    DropDeletion,
    DropNode,
    DropNodeKey,
    DropRevision,
    PutApiKey,
    PutDeletion,
    PutDeployment,
    PutMeasured,
    PutNode,
    PutPauses,
    PutRevision,
    RaiseEpoch,
    RemoveDeployment,
    StoreWrite,
)

MEASURED_KEPT: Final = 90 * 86400.0
"""Seconds for which it is kept what was measured."""


_PUT: Final = {
    PutDeployment: schema.DEPLOYMENTS,
    PutRevision: schema.REVISIONS,
    PutDeletion: schema.DELETIONS,
    PutNode: schema.NODES,
    PutPauses: schema.PAUSES,
    PutApiKey: schema.API_KEYS,
}
"""Where records go that are put."""

_DROPPED: Final = {
    DropRevision: schema.REVISIONS,
    DropDeletion: schema.DELETIONS,
    DropNode: schema.NODES,
    DropNodeKey: schema.NODE_KEYS,
    DropApiKey: schema.API_KEYS,
}
"""From where rows go that are dropped."""


def apply_writes(database: Database, connection: Connection, writes: Sequence[StoreWrite]) -> None:
    """Apply writes in their order; neighbours of one kind go to the database together."""
    uids: set[str] = set()
    for kind, run in groupby(writes, type):
        each: Any = list(run)
        if (table := _PUT.get(kind)) is not None:
            database.put(connection, table, [asdict(write.record, recurse=False) for write in each])
        elif (table := _DROPPED.get(kind)) is not None:
            _delete(connection, table, each)
        elif kind is RemoveDeployment:
            for write in each:
                _remove(database, connection, write)
        elif kind is PutMeasured:
            _put_measured(database, connection, each)
        elif kind is RaiseEpoch:
            _raise_epoch(connection, max(write.epoch for write in each))
        else:
            assert kind is AddJournal
            add_entries(database, connection, [entry for write in each for entry in write.entries])
        if kind is PutRevision:
            uids.update(write.record.uid for write in each)
    note_revisions(database, connection, uids)


def note_revisions(database: Database, connection: Connection, uids: Iterable[str]) -> None:
    """Remember the highest revisions of deployments as used by their ids."""
    deployments, revisions = schema.DEPLOYMENTS.c, schema.REVISIONS.c
    highest = (
        sa.select(deployments.id, sa.func.max(revisions.revision).label("revision"))
        .join_from(schema.DEPLOYMENTS, schema.REVISIONS, deployments.uid == revisions.uid)
        .group_by(deployments.id)
    )
    rows = [
        dict(row)
        for uid in sorted(uids)
        for row in connection.execute(highest.where(deployments.uid == uid)).mappings().all()
    ]
    if rows:
        database.put(connection, schema.LAST_REVISIONS, rows, only_higher="revision")


def _remove(database: Database, connection: Connection, write: RemoveDeployment) -> None:
    deployments = schema.DEPLOYMENTS.c
    found = connection.execute(sa.select(deployments.id).where(deployments.uid == write.uid)).scalar()
    if found is None:
        return
    note_revisions(database, connection, [write.uid])
    connection.execute(schema.REVISIONS.delete().where(schema.REVISIONS.c.uid == write.uid))
    connection.execute(schema.PAUSES.delete().where(schema.PAUSES.c.uid == write.uid))
    connection.execute(schema.DEPLOYMENTS.delete().where(deployments.uid == write.uid))
    database.put(connection, schema.DELETIONS, [{"uid": write.uid, "id": found, "at": write.at}])


def _put_measured(database: Database, connection: Connection, puts: Sequence[PutMeasured]) -> None:
    latest = {(put.record.engine, put.record.worker, put.record.kind): put.record for put in puts}
    database.put(connection, schema.MEASURED, [asdict(each, recurse=False) for each in latest.values()])
    at = schema.MEASURED.c.at
    oldest = max(each.at for each in latest.values()) - MEASURED_KEPT
    connection.execute(schema.MEASURED.delete().where(at < oldest))


def _raise_epoch(connection: Connection, epoch: int) -> None:
    about = schema.ABOUT
    connection.execute(about.update().where(about.c.epoch < epoch).values(epoch=epoch))


def _delete(connection: Connection, table: sa.Table, drops: Sequence[Any]) -> None:
    """Delete rows by their primary keys, which the writes carry under the names of the columns."""
    keys = list(table.primary_key.columns)
    where = sa.and_(*(key == sa.bindparam(f"key_{key.name}") for key in keys))
    rows = [{f"key_{key.name}": getattr(drop, key.name) for key in keys} for drop in drops]
    connection.execute(table.delete().where(where), rows)
