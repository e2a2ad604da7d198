"""A database of an older program opens, with all that it held; a crash in the middle leaves it as it was.

``schema_1.sql`` was written by the program that had schema 1, with deployments of every kind.
"""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from unittest.mock import ANY

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from structlog.testing import capture_logs
from tests.serving.store.stored import change, deployed, reopened
from tests.small_disk import small_disk

from sllm_actors import __version__
from sllm_actors.files import DRAFT
from sllm_actors.serving.deployment.document import read_kept_document
from sllm_actors.serving.store import schema
from sllm_actors.serving.store.migrations import MIGRATIONS, SCHEMA_VERSION
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import JournalEntry, NodeRecord, StoredState
from sllm_actors.serving.store.store import Store

DUMP = Path(__file__).with_name("schema_1.sql")


@pytest.fixture
def old(path: Path) -> Path:
    """A database of schema 1, whose program was killed: the last of it is only in the log."""
    script = "import os, sqlite3, sys\n"
    script += "database = sqlite3.connect(sys.argv[1])\n"
    script += "database.execute('PRAGMA journal_mode=WAL')\n"
    script += "database.executescript(open(sys.argv[2]).read())\n"
    script += f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    ended = subprocess.run([sys.executable, "-c", script, str(path), str(DUMP)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.with_name("state.db-wal").stat().st_size > 0
    return path


def content(path: Path) -> list[str]:
    """Return a whole database as SQL."""
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def content_of(path: Path, steps: int) -> list[str]:
    """Make a database of schema 1, take so many steps with it, and return it as SQL."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(DUMP.read_text())
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for number, step in enumerate(MIGRATIONS[1 : steps + 1], 2):
            step(connection, str(path))
            noted = {"number": number, "program": __version__}
            connection.execute(
                sa.text("UPDATE about SET schema_version = :number, program = :program"), noted
            )
    engine.dispose()
    return content(path)


def migrated(path: Path) -> StoredState:
    store = reopened(path)
    try:
        return store.load()
    finally:
        store.close()


def test_the_deployments_of_schema_1_are_all_there_each_with_its_revision_and_a_uid(old: Path) -> None:
    state = migrated(old)
    found = {each.id: each for each in state.deployments}
    assert [
        (each.id, each.current, each.reserved, each.created, each.deleting) for each in found.values()
    ] == [
        ("back:sglang", 3, 6, 1764000012.0, False),
        ("elsewhere:external", 1, 0, 1764000002.0, False),
        ("facebook/opt-1.3b:vllm", 1, 3, 1764000000.25, False),
        ("leaving:llamacpp", 1, 7, 1764000003.0, True),
        ("with-secrets:llamacpp", 1, 1, 1764000001.5, False),
    ]
    assert all(re.fullmatch("[0-9a-f]{32}", each.uid) for each in found.values())
    assert {each.generation for each in found.values()} == {1}
    assert not any(
        each.target or each.paused or each.recovered or each.allow_downtime for each in found.values()
    )
    revisions = {each.uid: each for each in state.revisions}
    for deployment in found.values():
        revision = revisions.pop(deployment.uid)
        assert (revision.revision, revision.created) == (deployment.current, deployment.created)
        assert read_kept_document(revision.document).id == deployment.id
    assert not revisions
    assert not state.fresh
    assert state.epoch == 0


def test_the_documents_of_schema_1_keep_every_value(old: Path) -> None:
    state = migrated(old)
    ids = {each.uid: each.id for each in state.deployments}
    specs = {ids[each.uid]: read_kept_document(each.document) for each in state.revisions}
    assert specs["with-secrets:llamacpp"].env == {"HF_TOKEN": "hf_not_a_real_token", "LEVEL": "DEBUG"}
    assert specs["with-secrets:llamacpp"].secret_env == {"OTHER": "env:OTHER"}
    assert specs["elsewhere:external"].endpoints == ("http://127.0.0.1:9001", "http://127.0.0.1:9002")
    assert specs["facebook/opt-1.3b:vllm"].settings["é"] == [None, 1.5]
    assert specs["facebook/opt-1.3b:vllm"].scaling.max_instances == 4


def test_an_id_that_was_deleted_under_schema_1_goes_on_behind_its_revisions(old: Path) -> None:
    state = migrated(old)
    assert state.last_revisions["gone:llamacpp"] == 4
    assert state.last_revisions["back:sglang"] == 3
    assert len(state.last_revisions) == 6
    assert state.deletions == ()


def test_the_nodes_of_schema_1_are_known_and_their_credentials_are_not(old: Path) -> None:
    store = reopened(old)
    assert store.load().nodes == (
        NodeRecord("gateway-77aa", "gateway", "", 1764000022.0),
        NodeRecord("worker-1f0e", "worker", "", 1764000020.0),
    )
    assert store.node_keys() == {}
    store.close()


def test_a_uid_is_the_same_when_the_copy_of_the_old_store_is_put_back(old: Path) -> None:
    first = migrated(old)
    shutil.move(old.with_name("state.db.v1"), old)
    store = reopened(old)
    assert store.load() == first
    store.apply(deployed("1", "new:vllm"))
    store.close()
    assert migrated(old).last_revisions["new:vllm"] == 1, "what is migrated is not migrated again"


def test_a_copy_of_the_old_store_is_kept_for_its_owner_alone_and_named_in_the_log(old: Path) -> None:
    was = content(old)
    with capture_logs() as logs:
        reopened(old).close()
    copy = old.with_name("state.db.v1")
    assert content(copy) == was
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert logs == [
        {
            "event": "store.migrated",
            "log_level": "info",
            "store": str(old),
            "schema_before": 1,
            "schema": SCHEMA_VERSION,
            "kept_as": str(copy),
        }
    ]
    assert sorted(each.name for each in old.parent.iterdir()) == ["state.db", "state.db.v1"]


@pytest.mark.slow
def test_a_disk_that_is_nearly_full_leaves_an_older_schema_whole_or_brings_the_new(
    tmp_path: Path,
) -> None:
    events: set[str] = set()
    problems: set[str] = set()
    older = [content_of(tmp_path / f"schema-{steps + 1}", steps) for steps in range(len(MIGRATIONS) - 1)]
    for room in range(0, 280, 20):  # KiB
        with small_disk(tmp_path / "disk") as disk:
            path = disk.folder / "state.db"
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(DUMP.read_text())
            disk.fill(but=room * 1024)
            with capture_logs() as logs:
                try:
                    reopened(path).close()
                except StoreProblem as problem:
                    problems.add(str(problem))
                    disk.free()
                    assert content(path) in older
            events |= {each["event"] for each in logs}
            assert not list(disk.folder.glob(f"*{DRAFT}*"))
            if disk.folder.joinpath("ballast").exists():
                disk.free()
            assert len(migrated(path).deployments) == 5
        disk.folder.rmdir()
    assert problems
    assert events == {"store.migrated_without_copy", "store.migrated"}
    said = r"the state store \S+ cannot be (opened|brought to this program's schema): [^\n]+"
    assert all(re.fullmatch(said, sentence) for sentence in problems)


def test_a_migration_that_fails_in_the_middle_leaves_the_old_schema(old: Path) -> None:
    change(old, "UPDATE deployments SET revision = 'many' WHERE id = 'back:sglang'")
    was = content(old)
    with pytest.raises(StoreProblem, match=r"back:sglang in the state store .*its revision is 'many'"):
        reopened(old)
    assert content(old) == was
    change(old, "UPDATE deployments SET revision = 3 WHERE id = 'back:sglang'")
    change(old, "UPDATE deployments SET revision = 'x' WHERE id = 'gone:llamacpp'")
    with pytest.raises(StoreProblem, match=r"the deleted deployment gone:llamacpp .*its revision is 'x'"):
        reopened(old)
    change(old, "UPDATE deployments SET revision = 4 WHERE id = 'gone:llamacpp'")
    assert len(migrated(old).deployments) == 5


def test_migrations_make_the_tables_that_the_program_uses(store: Store, path: Path) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # it names types as the migrations do
    with closing(sqlite3.connect(path)) as database:
        for name, table in schema.METADATA.tables.items():
            keys = [each.name for each in table.primary_key.columns]
            assert database.execute(f"PRAGMA table_info({name})").fetchall() == [
                (
                    place,
                    column.name,
                    column.type.compile(dialect),
                    int(not column.nullable),
                    ANY,
                    keys.index(column.name) + 1 if column.primary_key else 0,
                )
                for place, column in enumerate(table.columns)
            ]
            references = database.execute(f"PRAGMA foreign_key_list({name})").fetchall()
            assert len(references) == len(table.foreign_keys)
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert {name for (name,) in names} == set(schema.METADATA.tables)


def test_the_journal_of_schema_2_keeps_its_order_and_is_numbered_by_the_time(path: Path) -> None:
    content_of(path, 1)
    change(path, "INSERT INTO journal VALUES (1, 7.5, 'a:vllm', 'replica.placed', 'first')")
    change(path, "INSERT INTO journal VALUES (2, 7.5, 'w', 'node.up', 'next')")
    change(path, "INSERT INTO journal VALUES (9, 3.0, 'w', 'node.down', 'clock set')")
    store = reopened(path)
    try:
        assert store.journal(9) == [
            JournalEntry(7.5, "a:vllm", "replica.placed", "first", 7_500_000),
            JournalEntry(7.5, "w", "node.up", "next", 7_500_001),
            JournalEntry(3.0, "w", "node.down", "clock set", 7_500_002),
        ]
    finally:
        store.close()


def test_every_schema_has_its_step() -> None:
    assert len(MIGRATIONS) == SCHEMA_VERSION == 7
