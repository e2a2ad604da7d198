"""What is not the same with PostgreSQL: its driver, its server that may go, an older database of it."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from attrs import evolve
from sqlalchemy.dialects import postgresql
from tests.postgres import Postgres, why_not
from tests.serving.store.stored import Place, deployed, reopened

from sllm_actors.serving.store import schema
from sllm_actors.serving.store.database import read_address
from sllm_actors.serving.store.migrations import MIGRATIONS
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import ApiKeyRecord, NodeRecord
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import PutApiKey, PutNode, RaiseEpoch

pytestmark = pytest.mark.slow

DUMP = Path(__file__).with_name("schema_1.sql")


@pytest.fixture
def place(postgres: Postgres) -> Place:
    return Place(postgres.new_schema())


@pytest.fixture
def old(place: Place) -> Place:
    """A database of schema 1, with what the program of that time wrote."""
    statements = [each.strip() for each in DUMP.read_text().split(";\n")]
    place.change(*(each.replace("%", "%%") for each in statements if each[:6] in ("CREATE", "INSERT")))
    return place


def test_an_older_database_holds_what_sqlite_makes_of_the_same(old: Place, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(DUMP.read_text())
    (found, wanted) = (old.open(), reopened(path))
    assert found.load() == wanted.load()
    assert len(found.load().deployments) == 5
    for each in (found, wanted):
        each.close()


def test_a_migration_that_fails_in_the_middle_leaves_the_old_schema(old: Place) -> None:
    old.change("ALTER TABLE deployments ALTER next_number DROP NOT NULL")
    old.change("UPDATE deployments SET next_number = NULL WHERE id = 'back:sglang'")
    with pytest.raises(StoreProblem, match=r"back:sglang in the state store .*its next_number is None"):
        old.open()
    assert old.ask("SELECT schema_version FROM about") == [(1,)]
    assert old.ask("SELECT count(*) FROM credentials") == [(3,)]
    old.change("UPDATE deployments SET next_number = 6 WHERE id = 'back:sglang'")
    store = old.open()
    assert len(store.load().deployments) == 5
    store.close()


def test_migrations_make_the_tables_that_the_program_uses(place: Place) -> None:
    place.open().close()
    engine = sa.create_engine(read_address(place.url))
    found = sa.inspect(engine)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    assert set(found.get_table_names()) == set(schema.METADATA.tables)
    for name, table in schema.METADATA.tables.items():
        there = [
            (each["name"], each["type"].compile(dialect), each["nullable"])
            for each in found.get_columns(name)
        ]
        assert there == [(each.name, each.type.compile(dialect), each.nullable) for each in table.columns]
        keys = [each.name for each in table.primary_key.columns]
        assert found.get_pk_constraint(name)["constrained_columns"] == keys
        assert len(found.get_foreign_keys(name)) == len(table.foreign_keys)
    engine.dispose()
    assert len(MIGRATIONS) == place.ask("SELECT schema_version FROM about")[0][0]


def test_what_is_loaded_is_in_the_order_of_the_program_and_not_of_a_language(place: Place) -> None:
    names = ["Zebra", "_x", "apple", "Éclair", "z-1", "z1"]
    store = place.open()
    store.apply([PutNode(NodeRecord(name, "worker")) for name in names])
    store.apply([PutApiKey(ApiKeyRecord(name, "5f", 1.0, 1.5)) for name in names])
    store.apply([write for name in names for write in deployed(name, f"{name}:vllm")])
    state = store.load()
    assert [each.id for each in state.nodes] == sorted(names)
    assert [each.name for each in state.api_keys] == sorted(names)
    assert [each.uid for each in state.revisions] == sorted(names)
    ordered = [name for (name,) in place.ask("SELECT id FROM nodes ORDER BY id")]
    assert ordered != sorted(names), "the order of the server's language is another one"
    store.close()


def test_many_rows_are_read_in_pages_though_their_order_is_that_of_a_language(place: Place) -> None:
    store = place.open()
    nodes = [NodeRecord(f"{'Ab'[number % 2]}-{number % 7}_{number}", "worker") for number in range(350)]
    store.apply([PutNode(each) for each in nodes])
    assert store.load().nodes == tuple(sorted(nodes, key=lambda each: each.id))
    store.close()


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server that a test may stop."""
    if reason := why_not():
        pytest.skip(reason)
    running = Postgres()
    yield running
    running.close()


def test_a_server_that_goes_is_a_problem_until_it_is_back_and_not_for_longer(server: Postgres) -> None:
    store = Store.open(server.url)
    store.apply(deployed("1", "a:vllm"))
    before = store.load()
    server.stop()
    for action in (store.load, store.node_keys, lambda: store.apply([RaiseEpoch(3)])):
        with pytest.raises(StoreProblem) as raised:
            action()
        assert re.fullmatch(r"the state store \S+ cannot be (read|written): [^\n]+", str(raised.value))
    server.start()
    store.apply([RaiseEpoch(3)])
    assert store.load() == evolve(before, epoch=3)
    server.stop()  # while nobody asks for anything
    server.start()
    store.apply([RaiseEpoch(4)])
    assert store.load().epoch == 4
    store.close()


def test_an_address_without_a_driver_means_psycopg() -> None:
    for kind in ("postgresql", "postgres", "postgresql+psycopg"):
        address = read_address(f"{kind}://sllm:secret@db/sllm")
        assert address.render_as_string(hide_password=False) == "postgresql+psycopg://sllm:secret@db/sllm"


def test_a_driver_that_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreProblem) as raised:
        Store.open("postgresql://sllm:secret@db/sllm")
    assert str(raised.value) == (
        "there is no driver for the state store's address (postgresql+psycopg): for PostgreSQL, run"
        " `pip install 'sllm-actors[postgresql]'` in the head's environment, and let the address begin with"
        " postgresql://"
    )
