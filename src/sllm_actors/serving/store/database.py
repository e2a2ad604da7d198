"""The connection to the database of the head's store: the only place that knows which database it is."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from .problem import StoreProblem, cause

_POSTGRESQL = ("postgresql", "postgres")

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

PATIENCE: Final[Mapping[str, int]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,  # milliseconds
}
"""How long a PostgreSQL is waited for that does not answer, in words of libpq. Its URL may say otherwise."""


class Database:
    """An open database. Any thread may use it; writers wait for each other.

    Args:
        address: Its URL, as ``read_address`` returns it.
        name: What messages call it.
        wal: Whether a SQLite file is to be in WAL mode, in which readers and the writer do not wait for each
            other.

    Raises:
        StoreProblem: There is no driver for it.

    Attributes:
        name: What messages call it.
    """

    def __init__(self, address: URL, name: str, *, wal: bool = True) -> None:
        try:
            self._engine = sa.create_engine(address, **_settings_of(address))
        except ModuleNotFoundError:
            raise _no_driver(address) from None
        except (SQLAlchemyError, ImportError) as error:
            raise _unusable(error) from None
        kind = self._engine.dialect.name
        if kind not in _INSERTS:
            raise StoreProblem(f"the state store's address names {kind}: it may name {' or '.join(_INSERTS)}")
        self._insert = _INSERTS[kind]
        self._puts: dict[tuple[str, str], Any] = {}
        # SQLite reads from a snapshot anyway.
        self._snapshot = {} if kind == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._turn = threading.Lock()
        self.name = name
        if kind == "sqlite":
            sa.event.listen(self._engine, "connect", _tune_with_wal if wal else _tune)
            sa.event.listen(self._engine, "begin", _begin)

    @contextmanager
    def reading(self, doing: str = "read") -> Iterator[Connection]:
        """Run a transaction that only reads, and sees the database as it was when it began.

        Args:
            doing: The end of a message that begins with ``the state store … cannot be``.

        Raises:
            StoreProblem: The database failed.
        """
        try:
            with self._engine.connect() as connection:
                yield connection.execution_options(**self._snapshot)
        except SQLAlchemyError as error:
            raise StoreProblem(f"the state store {self.name} cannot be {doing}: {cause(error)}") from None

    @contextmanager
    def writing(self, doing: str = "written") -> Iterator[Connection]:
        """Run a transaction: it is on disk when the block is left, or, if that raises, undone.

        Raises:
            StoreProblem: See ``reading``.
        """
        try:
            with self._turn, self._engine.connect() as connection:
                connection = connection.execution_options(writes=True)
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            raise StoreProblem(f"the state store {self.name} cannot be {doing}: {cause(error)}") from None

    def put(
        self,
        connection: Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        only_higher: str = "",
    ) -> None:
        """Insert rows, each in place of the one with the same primary key.

        Args:
            connection: One that ``writing`` gave.
            table: Their table.
            rows: Their values, by column.
            only_higher: If given, the column in which a row must be higher than the one that it replaces.
        """
        known = self._puts.get((table.name, only_higher))
        if known is None:  # made once: each is a knot of some hundred objects for the garbage collection
            known = self._puts[table.name, only_higher] = self._put(table, only_higher)
        connection.execute(known, rows)

    def _put(self, table: sa.Table, only_higher: str) -> Any:
        insert = self._insert(table)
        return insert.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={each.name: each for each in insert.excluded if not table.c[each.name].primary_key},
            where=insert.excluded[only_higher] > table.c[only_higher] if only_higher else None,
        )

    def copy(self, path: Path) -> None:
        """Copy a whole SQLite database to an empty file.

        Raises:
            OSError: It cannot be copied.
        """
        try:
            with self._engine.connect() as connection, closing(sqlite3.connect(path)) as target:
                source: Any = connection.connection.driver_connection
                source.backup(target)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise OSError(cause(error)) from None

    def check(self, path: Path, remedy: str) -> None:
        """Refuse a damaged SQLite file: the head would stop each replica whose deployment is missing in it.

        Raises:
            StoreProblem: It is damaged; ``remedy`` ends the sentence.
        """
        if path.is_file() and path.stat().st_size == 0:
            raise StoreProblem(f"the state store {path} is empty: {remedy}")
        try:
            with self._engine.connect() as connection:
                _keep_private(path)
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        except SQLAlchemyError as error:
            raise StoreProblem(f"the state store {path} cannot be opened: {cause(error)}; {remedy}") from None
        if found != "ok":
            why = found.replace("\n", " ")
            raise StoreProblem(f"the state store {path} is damaged ({why:.200}): {remedy}")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def read_address(url: str) -> URL:
    """Read the URL of a database. ``postgresql://`` is read as ``postgresql+psycopg://``.

    Raises:
        StoreProblem: It means nothing, or a SQLite database in memory.
    """
    try:
        address = sa.make_url(url)
        if address.drivername in _POSTGRESQL:
            address = address.set(drivername="postgresql+psycopg")
        kind = address.get_backend_name()
    except (SQLAlchemyError, ImportError, ValueError) as error:  # ValueError: of a port, for one
        raise _unusable(error) from None
    if kind == "sqlite" and address.database in (None, "", ":memory:"):
        raise StoreProblem("the state store's address names no file, and memory would forget: name one")
    return address


def name_of(address: URL) -> str:
    """Return what messages call a database; without its password."""
    is_file = address.get_backend_name() == "sqlite"
    return (is_file and address.database) or address.render_as_string(hide_password=True)


def sqlite_file(address: URL) -> Path | None:
    """Return the path of a SQLite database that is a plain file; None of any other."""
    name = address.database or ""
    is_file = address.get_backend_name() == "sqlite" and not name.startswith("file:")
    return Path(name) if is_file else None


def sqlite_url(path: Path) -> str:
    """Return the address of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def _settings_of(address: URL) -> dict[str, Any]:
    """Return what the engine of a database is to be made with."""
    if address.drivername != "postgresql+psycopg":
        return {}
    patience = {key: value for key, value in PATIENCE.items() if key not in address.query}
    # A connection is tried before it is used: after a restart of the server, all that were open are dead.
    return {"pool_pre_ping": True, "connect_args": patience}


def _no_driver(address: URL) -> StoreProblem:
    return StoreProblem(
        f"there is no driver for the state store's address ({address.drivername}): for PostgreSQL, run"
        " `pip install 'sllm-actors[postgresql]'` in the head's environment, and let the address begin with"
        " postgresql://"
    )


def _unusable(error: Exception) -> StoreProblem:
    return StoreProblem(f"the state store's address cannot be used: {cause(error)}")


def _tune(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin transactions too late, and never for DDL
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA foreign_keys=ON")


def _tune_with_wal(connection: Any, record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    _tune(connection, record)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _keep_private(path: Path) -> None:
    """Let nobody else read a database that is open, nor what SQLite keeps beside it."""
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(OSError):  # it is not there, or somebody else's
            each.chmod(0o600)
