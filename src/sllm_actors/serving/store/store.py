"""The head's store: deployments, nodes and their credentials, in one versioned SQL database.

SQLite by default, PostgreSQL by URL. Every method blocks: call it in a thread. When a method that writes
returns, its change is on disk. Each method raises ``StoreProblem`` if the database fails. Replicas are not
stored: workers report them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from sllm_actors.cluster.home import SetupProblem
from sllm_actors.serving.deployment.document import read_document, write_document
from sllm_actors.serving.deployment.spec import DeploymentSpec

SCHEMA_VERSION = 1

_metadata = sa.MetaData()
_about = sa.Table("about", _metadata, sa.Column("schema_version", sa.Integer, nullable=False))
_deployments = sa.Table(
    "deployments",
    _metadata,
    sa.Column("id", sa.String(320), primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),  # active, deleting, deleted
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("next_number", sa.Integer, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)
_nodes = sa.Table(
    "nodes",
    _metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("last_seen", sa.Float, nullable=False),
)
# A table of its own: a worker that stayed away for long is forgotten, but its id stays its own.
_credentials = sa.Table(
    "credentials",
    _metadata,
    sa.Column("node", sa.String(255), primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("issued", sa.Float, nullable=False),
)


_REMEDY = "put back what was there, or move the file away to begin without deployments and nodes"


class StoreProblem(SetupProblem):
    """The store cannot be used. The text is one sentence that says why and what to do."""


@frozen
class StoredDeployment:
    """A deployment in the store, active or being deleted.

    Attributes:
        spec: What was deployed.
        revision: Its revision, from 1.
        deleting: Whether it is being deleted.
        next_number: The first replica number that was never given out.
        created: When it was deployed, in seconds since the epoch.
    """

    spec: DeploymentSpec
    revision: int
    deleting: bool
    next_number: int
    created: float


class Store:
    """The open store. Made by ``Store.open``; any thread may use it.

    Of a deleted deployment the revision and the next replica number are kept: so a replica of a later
    deployment with the same id is never taken for one of the deleted one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        is_file = engine.dialect.name == "sqlite"
        self._name = (is_file and engine.url.database) or engine.url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, url: str) -> Store:
        """Connect, make missing tables, and check that every deployment and credential can be read.

        Args:
            url: An SQLAlchemy URL; see ``sqlite_url``.

        Raises:
            StoreProblem: The database cannot be reached, is damaged, or was written by another version.
        """
        try:
            address = sa.make_url(url)
            engine = sa.create_engine(address)
        except (SQLAlchemyError, ImportError, ValueError) as error:  # ValueError: of a port, for one
            raise StoreProblem(f"the state store's address cannot be used: {_cause(error)}") from None
        if engine.dialect.name == "sqlite" and address.database in (None, "", ":memory:"):
            raise StoreProblem("the state store's address names no file, and memory would forget: name one")
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _tune_sqlite)
        store = cls(engine)
        try:
            if engine.dialect.name == "sqlite":
                store._check_file()
            store._prepare()
            store.deployments()
            store.credentials()
        except StoreProblem:
            store.close()
            raise
        return store

    def _check_file(self) -> None:
        """Refuse a damaged file: the head would stop every replica whose deployment is missing in it."""
        path = Path(self._name)
        if path.is_file() and path.stat().st_size == 0:
            raise StoreProblem(f"the state store {path} is empty: {_REMEDY}")
        try:
            with self._engine.connect() as connection:
                _keep_private(path)
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        except SQLAlchemyError as error:
            raise StoreProblem(
                f"the state store {path} cannot be opened: {_cause(error)}; {_REMEDY}"
            ) from None
        if found != "ok":
            why = found.replace("\n", " ")
            raise StoreProblem(f"the state store {path} is damaged ({why:.200}): {_REMEDY}")

    def _prepare(self) -> None:
        version = None
        try:
            with self._engine.begin() as connection:
                if sa.inspect(connection).has_table(_about.name):
                    version = connection.execute(sa.select(_about.c.schema_version)).scalar()
                if version in (None, SCHEMA_VERSION):
                    _metadata.create_all(connection)  # what is not there: also what an older program left out
                if version is None:
                    connection.execute(_about.insert().values(schema_version=SCHEMA_VERSION))
        except SQLAlchemyError as error:
            raise StoreProblem(f"the state store {self._name} cannot be opened: {_cause(error)}") from None
        if version not in (None, SCHEMA_VERSION):
            raise StoreProblem(
                f"the state store {self._name} has schema {version}, this program reads {SCHEMA_VERSION}: "
                "use the version that wrote it, or another --data-dir"
            )

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreProblem(f"the state store {self._name} cannot be read: {_cause(error)}") from None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreProblem(f"the state store {self._name} cannot be written: {_cause(error)}") from None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def deployments(self) -> list[StoredDeployment]:
        """Return the deployments that are active or being deleted, in the order of their ids."""
        with self._reading() as connection:
            rows = (
                connection.execute(
                    sa.select(_deployments)
                    .where(_deployments.c.status != "deleted")
                    .order_by(_deployments.c.id)
                )
                .mappings()
                .all()
            )
        return [_stored(row, self._name) for row in rows]

    def deploy(self, spec: DeploymentSpec, now: float) -> StoredDeployment:
        """Add a deployment, at the next revision of its id; ``now`` is in seconds since the epoch."""
        with self._writing() as connection:
            old = connection.execute(
                sa.select(_deployments.c.revision, _deployments.c.next_number).where(
                    _deployments.c.id == spec.id
                )
            ).one_or_none()
            stored = StoredDeployment(
                spec,
                revision=old.revision + 1 if old else 1,
                deleting=False,
                next_number=old.next_number if old else 0,
                created=now,
            )
            values: dict[str, Any] = {
                "id": spec.id,
                "revision": stored.revision,
                "status": "active",
                "document": json.dumps(write_document(spec)),
                "next_number": stored.next_number,
                "created": now,
            }
            if old:
                _set(connection, spec.id, values)
            else:
                connection.execute(_deployments.insert().values(values))
        return stored

    def set_deleting(self, deployment: str) -> None:
        """Mark a deployment as being deleted."""
        with self._writing() as connection:
            _set(connection, deployment, {"status": "deleting"})

    def forget(self, deployment: str) -> None:
        """Mark a deployment as deleted; ``deployments`` no longer returns it."""
        with self._writing() as connection:
            _set(connection, deployment, {"status": "deleted"})

    def reserve_numbers(self, next_numbers: dict[str, int]) -> None:
        """Store the first replica number that was never given out, by deployment."""
        with self._writing() as connection:
            for deployment, number in sorted(next_numbers.items()):
                _set(connection, deployment, {"next_number": number})

    def nodes(self, role: str) -> set[str]:
        """Return the ids of the known nodes of a role."""
        with self._reading() as connection:
            return set(connection.execute(sa.select(_nodes.c.id).where(_nodes.c.role == role)).scalars())

    def saw_node(self, node: str, role: str, now: float) -> None:
        """Add a node, or update when it was last seen (seconds since the epoch)."""
        with self._writing() as connection:
            values = {"role": role, "last_seen": now}
            if not connection.execute(_nodes.update().where(_nodes.c.id == node).values(values)).rowcount:
                connection.execute(_nodes.insert().values(id=node, **values))

    def forget_nodes(self, nodes: Iterable[str]) -> None:
        """Remove nodes; their credentials are kept."""
        with self._writing() as connection:
            connection.execute(_nodes.delete().where(_nodes.c.id.in_(sorted(nodes))))

    def credentials(self) -> dict[str, bytes]:
        """Return the hash of each node's credential, by node."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(_credentials.c.node, _credentials.c.hash)).all()
        try:
            return {row.node: bytes.fromhex(row.hash) for row in rows}
        except (ValueError, TypeError):
            raise StoreProblem(
                f"the state store {self._name} holds what is no credential: {_REMEDY}"
            ) from None

    def keep_credential(self, node: str, hashed: bytes, now: float) -> None:
        """Store the hash of a node's credential, in place of an earlier one."""
        values = {"hash": hashed.hex(), "issued": now}
        with self._writing() as connection:
            update = _credentials.update().where(_credentials.c.node == node).values(values)
            if not connection.execute(update).rowcount:
                connection.execute(_credentials.insert().values(node=node, **values))


def sqlite_url(path: Path) -> str:
    """Return the address of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def _tune_sqlite(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")


def _keep_private(path: Path) -> None:
    """Let nobody else read a database that is open, nor what SQLite keeps beside it."""
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(OSError):  # it is not there, or somebody else's
            each.chmod(0o600)


def _set(connection: Connection, deployment: str, values: dict[str, Any]) -> None:
    connection.execute(_deployments.update().where(_deployments.c.id == deployment).values(values))


def _cause(error: Exception) -> str:
    """Return what the driver said, in one line."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0].rstrip(" .")


def _stored(row: Any, store: str) -> StoredDeployment:
    try:
        spec, _ = read_document(row["document"])
        revision, next_number = int(row["revision"]), int(row["next_number"])
    except (ValueError, TypeError) as problem:  # a DeploymentProblem is a ValueError
        # Not to be passed over: the head stops replicas whose deployment it does not know.
        raise StoreProblem(
            f"the deployment {row['id']} in the state store {store} cannot be read ({problem}): "
            "use the version that wrote it, or another --data-dir"
        ) from None
    return StoredDeployment(spec, revision, row["status"] == "deleting", next_number, row["created"])
