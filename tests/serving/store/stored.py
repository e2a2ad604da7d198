"""Short ways to write what is in a store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.pool import NullPool

from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.store.database import read_address, sqlite_url
from sllm_actors.serving.store.records import DeploymentRecord, RevisionRecord
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import PutDeployment, PutRevision, StoreWrite


def record(uid: str, id: str, **more: Any) -> DeploymentRecord:  # noqa: A002 - as the record calls it
    return DeploymentRecord(uid, id, **{"created": 1.5, **more})


def revision(uid: str, id: str, number: int, **more: Any) -> RevisionRecord:  # noqa: A002
    model, _, backend = id.rpartition(":")
    document = json.dumps(write_document(DeploymentSpec(model=model, backend=backend)))
    return RevisionRecord(uid, number, document, **{"created": 2.5, **more})


def deployed(uid: str, id: str, **more: Any) -> list[StoreWrite]:  # noqa: A002
    """Return the writes of a deployment that has its current revision."""
    wanted = record(uid, id, **more)
    return [PutDeployment(wanted), PutRevision(revision(uid, id, wanted.current))]


def reopened(path: Path, beside: Path | None = None) -> Store:
    return Store.open(sqlite_url(path), beside=beside)


def change(path: Path, statement: str) -> None:
    """Change a database behind the store's back."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@frozen
class Place:
    """A database for a store, of whichever kind.

    Attributes:
        url: Its address.
    """

    url: str

    def open(self, beside: Path | None = None) -> Store:
        return Store.open(self.url, beside=beside)

    def change(self, *statements: str) -> None:
        """Change it behind the store's back, in one transaction."""
        self.ask("SELECT 1", before=statements)

    def ask(self, question: str, *, before: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that answer a question."""
        engine = sa.create_engine(read_address(self.url), poolclass=NullPool)
        with engine.begin() as connection:
            for statement in before:
                connection.exec_driver_sql(statement)
            return [tuple(row) for row in connection.exec_driver_sql(question).all()]
