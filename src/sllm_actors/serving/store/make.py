"""Making the database of the head's store, and bringing an older one to this program's schema."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import structlog
from attrs import asdict
from sqlalchemy.engine import URL, Connection

from sllm_actors import __version__
from sllm_actors.files import DRAFT, make_private_file, put_in_place

from . import schema
from .database import Database
from .deployments_file import DEPLOYMENTS_FILE, DeploymentsFile, read_deployments
from .journal import add_entries
from .keys_file import KEYS_FILE, KeysFile, read_keys_file, recovered
from .migrations import MIGRATIONS, SCHEMA_VERSION
from .problem import StoreProblem, unreadable

log = structlog.get_logger("sllm_actors.store")

LOST: Final = "the database was not there: what was changed after this file was written is lost"


def make_file(address: URL, path: Path, beside: Path | None) -> None:
    """Make a SQLite database where there is no file yet, all or nothing.

    Args:
        address: Its URL.
        path: Its file.
        beside: The folder of ``deployments.json`` and ``api-keys.json``, or None.

    Raises:
        StoreProblem: It cannot be made.
    """
    draft = path.with_name(f".{path.name}{DRAFT}")
    try:
        # A link that leads nowhere: the disk that it leads to may be away for now.
        if path.exists() or path.is_symlink() or not path.parent.is_dir():
            return
        _remove(draft)  # of a program that was killed while it made one
        make_private_file(draft)
        database = Database(address.set(database=str(draft)), str(path), wal=False)
        try:
            prepare(database, None, beside)
        finally:
            database.close()
        _put_logs_aside(path)
        put_in_place(draft, path)
    except OSError as error:
        raise StoreProblem(f"the state store {path} cannot be made: {error.strerror or error}") from None
    finally:
        _remove(draft)


def prepare(database: Database, path: Path | None, beside: Path | None) -> None:
    """Bring a database to this program's schema; put what files beside it hold into one that holds nothing.

    Args:
        database: The database.
        path: The file of a SQLite database, of which a copy is kept before it is changed; or None.
        beside: The folder of ``deployments.json`` and ``api-keys.json``, or None.

    Raises:
        StoreProblem: It is of a later schema, or cannot be read or written.
    """
    with database.reading("opened") as connection:
        version = _version(connection, database.name)
    if version is None:
        deployments = None if beside is None else read_deployments(beside / DEPLOYMENTS_FILE)
        keys = None if beside is None else read_keys_file(beside / KEYS_FILE)
        _make(database, deployments, keys, beside)
        return
    if version > SCHEMA_VERSION:
        raise _too_new(database, path, version)
    if version < SCHEMA_VERSION:
        copy = None if path is None else _keep_copy(database, path, version)
        for number in range(version, SCHEMA_VERSION):
            with database.writing("brought to this program's schema") as connection:
                MIGRATIONS[number](connection, database.name)
                _note_version(connection, number + 1)
        log.info(
            "store.migrated",
            store=database.name,
            schema_before=version,
            schema=SCHEMA_VERSION,
            kept_as=copy and str(copy),
        )


def _version(connection: Connection, name: str) -> int | None:
    """Return the number of the schema; None of a database that holds nothing yet."""
    about = schema.ABOUT
    if not sa.inspect(connection).has_table(about.name):
        return None
    version = connection.execute(sa.select(about.c.schema_version)).scalar()
    if version is not None and (type(version) is not int or version < 1):
        raise unreadable("the number of the schema", name, f"it is {version!r:.40}")
    return version


def _too_new(database: Database, path: Path | None, version: int) -> StoreProblem:
    about = schema.ABOUT
    program = None
    with suppress(StoreProblem), database.reading() as connection:
        program = connection.execute(sa.select(about.c.program)).scalar()
    wrote = f"that wrote it ({program:.40})" if isinstance(program, str) and program else "that wrote it"
    copy = None if path is None else _copy_of(path, SCHEMA_VERSION)
    kept = f"put back {copy.name} from before the upgrade" if copy is not None and copy.exists() else ""
    remedies = ", ".join(filter(None, (f"use the version {wrote}", kept)))
    return StoreProblem(
        f"the state store {database.name} has schema {version}, this program reads {SCHEMA_VERSION}: "
        f"{remedies}, or another --data-dir"
    )


def _make(
    database: Database, deployments: DeploymentsFile | None, keys: KeysFile | None, beside: Path | None
) -> None:
    with database.writing("made") as connection:
        for step in MIGRATIONS:
            step(connection, database.name)
        _note_version(connection, SCHEMA_VERSION)
        connection.execute(schema.ABOUT.update().values(fresh=True))
        if deployments is not None:
            _put(database, connection, schema.DEPLOYMENTS, deployments.deployments)
            _put(database, connection, schema.REVISIONS, deployments.revisions)
            _put(database, connection, schema.DELETIONS, deployments.deletions)
            numbers = [
                {"id": name, "revision": number} for name, number in deployments.last_revisions.items()
            ]
            if numbers:
                database.put(connection, schema.LAST_REVISIONS, numbers)
        if keys is not None:
            _put(database, connection, schema.API_KEYS, keys.keys)
            add_entries(database, connection, recovered(keys, time.time()))
    if deployments is not None:
        log.warning(
            "store.deployments_taken_from_file",
            store=database.name,
            file=str(beside and beside / DEPLOYMENTS_FILE),
            deployments=len(deployments.deployments),
            written=deployments.written,
            meaning=LOST,
        )
    if keys is not None:
        log.warning(
            "store.keys_taken_from_file",
            store=database.name,
            file=str(beside and beside / KEYS_FILE),
            keys=len(keys.keys),
            written=keys.written,
            meaning=LOST,
        )


def _put(database: Database, connection: Connection, table: sa.Table, records: Sequence[Any]) -> None:
    if records:
        database.put(connection, table, [asdict(record, recurse=False) for record in records])


def _note_version(connection: Connection, version: int) -> None:
    statement = "UPDATE about SET schema_version = :version, program = :program"
    connection.execute(sa.text(statement), {"version": version, "program": __version__})


def _keep_copy(database: Database, path: Path, version: int) -> Path | None:
    """Copy a SQLite file of an older schema, if the disk has room for the copy and what follows."""
    copy = _copy_of(path, version)
    draft = path.with_name(f".{copy.name}{DRAFT}")
    try:
        _want_room(path)
        draft.unlink(missing_ok=True)
        make_private_file(draft)
        database.copy(draft)
        put_in_place(draft, copy)
    except OSError as error:
        reason = error.strerror or str(error)
        log.warning("store.migrated_without_copy", store=str(path), reason=reason)
        _remove(draft)
        return None
    return copy


def _want_room(path: Path) -> None:
    files = (path, path.with_name(f"{path.name}-wal"))
    size = sum(each.stat().st_size for each in files if each.exists())
    if shutil.disk_usage(path.parent).free < 3 * size:
        raise OSError(errno.ENOSPC, f"the disk has no room for {size} bytes and what follows")


def _put_logs_aside(path: Path) -> None:
    """Move away what SQLite kept beside a database that is gone: it would be applied to the new one."""
    for end in ("-wal", "-journal"):
        left = path.with_name(f"{path.name}{end}")
        with suppress(FileNotFoundError):
            left.replace(left.with_name(f"{left.name}.old"))
            log.warning("store.log_put_aside", path=str(left), kept_as=f"{left.name}.old")
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _copy_of(path: Path, version: int) -> Path:
    return path.with_name(f"{path.name}.v{version}")


def _remove(draft: Path) -> None:
    """Remove a draft of a database, with what SQLite keeps beside it."""
    for end in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            draft.with_name(f"{draft.name}{end}").unlink(missing_ok=True)
