"""The steps from each schema of the head's store to the next one.

A step runs in one transaction together with the number of its schema: a crash leaves the schema before it.
A step that was released is never changed, and uses no table of ``schema``, which later steps change. Its SQL
is what SQLite and PostgreSQL both know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .problem import unreadable


def _make_1(connection: Connection, _store: str) -> None:
    # What is there already was left by a program that was killed while it made it.
    for statement in (
        """CREATE TABLE IF NOT EXISTS about (schema_version INTEGER NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS deployments (
            id VARCHAR(320) NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, status VARCHAR(16) NOT NULL,
            document TEXT NOT NULL, next_number INTEGER NOT NULL, created FLOAT NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS nodes (
            id VARCHAR(128) NOT NULL PRIMARY KEY, role VARCHAR(32) NOT NULL, last_seen FLOAT NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS credentials (
            node VARCHAR(255) NOT NULL PRIMARY KEY, hash VARCHAR(64) NOT NULL, issued FLOAT NOT NULL)""",
        """INSERT INTO about VALUES (1)""",
    ):
        connection.execute(sa.text(statement))


def _to_2(connection: Connection, store: str) -> None:
    """Give deployments uids and revisions of their own; forget credentials, which are keys from now on."""
    for statement in (
        """ALTER TABLE about ADD COLUMN program VARCHAR(64) NOT NULL DEFAULT ''""",
        """ALTER TABLE about ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0""",
        """ALTER TABLE about ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE""",
        """ALTER TABLE deployments RENAME TO deployments_1""",
        """ALTER TABLE nodes RENAME TO nodes_1""",
        """DROP TABLE credentials""",
        """CREATE TABLE deployments (
            uid VARCHAR(64) NOT NULL PRIMARY KEY, id VARCHAR(320) NOT NULL, created DOUBLE PRECISION NOT NULL,
            deleting BOOLEAN NOT NULL, generation BIGINT NOT NULL, current BIGINT NOT NULL, target BIGINT,
            paused TEXT NOT NULL, allow_downtime BOOLEAN NOT NULL, reserved BIGINT NOT NULL,
            recovered BOOLEAN NOT NULL)""",
        """CREATE TABLE revisions (
            uid VARCHAR(64) NOT NULL REFERENCES deployments (uid) DEFERRABLE INITIALLY DEFERRED,
            revision BIGINT NOT NULL, document TEXT NOT NULL, created DOUBLE PRECISION NOT NULL,
            failed TEXT NOT NULL, PRIMARY KEY (uid, revision))""",
        """CREATE TABLE last_revisions (id VARCHAR(320) NOT NULL PRIMARY KEY, revision BIGINT NOT NULL)""",
        """CREATE TABLE deletions (
            uid VARCHAR(64) NOT NULL PRIMARY KEY, id VARCHAR(320) NOT NULL, at DOUBLE PRECISION NOT NULL)""",
        """CREATE TABLE nodes (
            id VARCHAR(255) NOT NULL PRIMARY KEY, role VARCHAR(32) NOT NULL, name TEXT NOT NULL,
            last_seen DOUBLE PRECISION NOT NULL, draining BOOLEAN NOT NULL)""",
        """CREATE TABLE node_keys (
            node VARCHAR(255) NOT NULL PRIMARY KEY, role VARCHAR(32) NOT NULL,
            public_key VARCHAR(1024) NOT NULL, bound DOUBLE PRECISION NOT NULL)""",
        """CREATE TABLE journal (
            number BIGINT NOT NULL PRIMARY KEY, at DOUBLE PRECISION NOT NULL, subject VARCHAR(320) NOT NULL,
            event VARCHAR(64) NOT NULL, sentence TEXT NOT NULL)""",
        """INSERT INTO nodes SELECT id, role, '', last_seen, FALSE FROM nodes_1""",
        """INSERT INTO last_revisions SELECT id, revision FROM deployments_1""",
    ):
        connection.execute(sa.text(statement))
    old = connection.execute(sa.text("SELECT * FROM deployments_1 ORDER BY id")).mappings().all()
    for row in old:
        if row["status"] != "deleted":
            _give_uid(connection, dict(row), store)
        elif type(row["revision"]) is not int:
            raise unreadable(
                f"the deleted deployment {row['id']}", store, f"its revision is {row['revision']!r:.40}"
            )
    connection.execute(sa.text("DROP TABLE deployments_1"))
    connection.execute(sa.text("DROP TABLE nodes_1"))


def _give_uid(connection: Connection, row: dict[str, Any], store: str) -> None:
    for column in ("revision", "next_number"):
        if type(row[column]) is not int:
            raise unreadable(f"the deployment {row['id']}", store, f"its {column} is {row[column]!r:.40}")
    # Always the same one: a copy of the old store that is put back must not disown what runs by then.
    named = "\0".join(str(row[column]) for column in ("id", "revision", "created"))
    values = row | {
        "uid": hashlib.sha256(named.encode()).hexdigest()[:32],
        "deleting": row["status"] == "deleting",
    }
    for statement in (
        """INSERT INTO deployments VALUES
            (:uid, :id, :created, :deleting, 1, :revision, NULL, '', FALSE, :next_number, FALSE)""",
        """INSERT INTO revisions VALUES (:uid, :revision, :document, :created, '')""",
    ):
        connection.execute(sa.text(statement), values)


def _to_3(connection: Connection, _store: str) -> None:
    """Number the journal by the time, and let an entry name a revision, a replica and a node."""
    connection.execute(sa.text("ALTER TABLE journal RENAME TO journal_2"))
    connection.execute(
        sa.text("""CREATE TABLE journal (
            number BIGINT NOT NULL PRIMARY KEY, at DOUBLE PRECISION NOT NULL, subject VARCHAR(320) NOT NULL,
            kind VARCHAR(64) NOT NULL, sentence TEXT NOT NULL, revision BIGINT NOT NULL,
            replica VARCHAR(400) NOT NULL, node VARCHAR(255) NOT NULL)""")
    )
    number, values = 0, []
    for row in connection.execute(sa.text("SELECT * FROM journal_2 ORDER BY number")).mappings().all():
        number = max(number + 1, int(row["at"] * 1_000_000))
        values.append(dict(row) | {"number": number})
    if values:
        statement = """INSERT INTO journal VALUES (:number, :at, :subject, :event, :sentence, 0, '', '')"""
        connection.execute(sa.text(statement), values)
    connection.execute(sa.text("DROP TABLE journal_2"))


def _to_4(connection: Connection, _store: str) -> None:
    """Let deployments be without a replica, once one has served."""
    connection.execute(sa.text("ALTER TABLE deployments ADD COLUMN loaded BOOLEAN NOT NULL DEFAULT FALSE"))


def _to_5(connection: Connection, _store: str) -> None:
    """Keep what was measured of engines."""
    connection.execute(
        sa.text("""CREATE TABLE measured (
            engine VARCHAR(64) NOT NULL, worker VARCHAR(255) NOT NULL, kind VARCHAR(32) NOT NULL,
            value DOUBLE PRECISION NOT NULL, at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (engine, worker, kind))""")
    )


def _to_6(connection: Connection, _store: str) -> None:
    """Keep the pauses between the requests of deployments."""
    connection.execute(
        sa.text("""CREATE TABLE pauses (
            uid VARCHAR(64) NOT NULL PRIMARY KEY, bins TEXT NOT NULL, longer DOUBLE PRECISION NOT NULL,
            halved DOUBLE PRECISION NOT NULL)""")
    )


def _to_7(connection: Connection, _store: str) -> None:
    """Keep API keys."""
    connection.execute(
        sa.text("""CREATE TABLE api_keys (
            name VARCHAR(64) NOT NULL PRIMARY KEY, digest VARCHAR(64) NOT NULL,
            share DOUBLE PRECISION NOT NULL, created DOUBLE PRECISION NOT NULL)""")
    )


MIGRATIONS: list[Callable[[Connection, str], None]] = [_make_1, _to_2, _to_3, _to_4, _to_5, _to_6, _to_7]
"""Step n makes schema n + 1 of schema n; schema 0 is a database that holds nothing. A step takes a connection
in a transaction and the name of the store, and raises ``StoreProblem`` for what it cannot take along."""

SCHEMA_VERSION = len(MIGRATIONS)
