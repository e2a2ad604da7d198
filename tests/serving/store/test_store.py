"""What the head was told is on disk when it has said so, and comes back after any end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.kit import spec

from sllm_actors.serving.store.store import Store, StoredDeployment, StoreProblem, sqlite_url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(sqlite_url(path))
    yield opened
    opened.close()


def reopened(path: Path) -> Store:
    return Store.open(sqlite_url(path))


def problem(url: str) -> str:
    with pytest.raises(StoreProblem) as raised:
        Store.open(url)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_was_acknowledged_is_there_after_a_restart(store: Store, path: Path) -> None:
    wanted = spec("a", replicas=2, settings={"n_ctx": 2048, "é": [None, 1.5]})
    assert store.deploy(wanted, 12.5) == StoredDeployment(wanted, 1, False, 0, 12.5)
    store.deploy(spec("b"), 13.0)
    store.reserve_numbers({wanted.id: 2})
    store.set_deleting("b:llamacpp")
    store.saw_node("worker-1", "worker", 1.0)
    # Not closed: the process was killed.
    after = reopened(path)
    assert after.deployments() == [
        StoredDeployment(wanted, 1, False, 2, 12.5),
        StoredDeployment(spec("b"), 1, True, 0, 13.0),
    ]
    assert after.nodes("worker") == {"worker-1"}
    after.close()


def test_a_deployment_of_the_same_id_goes_on_with_revision_and_numbers(store: Store, path: Path) -> None:
    wanted = spec("a")
    store.deploy(wanted, 1.0)
    store.reserve_numbers({wanted.id: 5})
    store.set_deleting(wanted.id)
    store.forget(wanted.id)
    assert store.deployments() == []
    after = reopened(path)
    assert after.deploy(spec("a", gpus=1), 2.0) == StoredDeployment(spec("a", gpus=1), 2, False, 5, 2.0)
    assert [each.revision for each in after.deployments()] == [2]
    after.close()


def test_workers_are_remembered_until_they_are_forgotten(store: Store) -> None:
    store.saw_node("w1", "worker", 1.0)
    store.saw_node("w1", "worker", 2.0)
    store.saw_node("w2", "worker", 2.0)
    store.saw_node("g1", "gateway", 2.0)
    assert store.nodes("worker") == {"w1", "w2"}
    store.forget_nodes({"w1", "never seen"})
    store.forget_nodes([])
    assert store.nodes("worker") == {"w2"}


def test_another_schema_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE about (schema_version INTEGER NOT NULL)")
        database.execute("INSERT INTO about VALUES (9)")
    database.close()
    sentence = problem(sqlite_url(path))
    assert "has schema 9, this program reads 1: use the version that wrote it" in sentence
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("about",)]
    database.close()


def test_a_file_that_was_only_begun_is_finished(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE about (schema_version INTEGER NOT NULL)")
    database.close()
    reopened(path).close()
    after = reopened(path)
    assert after.deployments() == []
    after.close()


def test_a_deployment_that_cannot_be_read_is_not_passed_over(store: Store, path: Path) -> None:
    store.deploy(spec("a"), 1.0)
    with sqlite3.connect(path) as database:
        database.execute("""UPDATE deployments SET document = '{"model": "a", "later": 1}'""")
    database.close()
    sentence = problem(sqlite_url(path))
    assert f'a:llamacpp in the state store {path} cannot be read (unknown key "later"' in sentence


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    sentence = problem(sqlite_url(tmp_path / "missing" / "state.db"))
    assert "missing/state.db cannot be opened: unable to open database file" in sentence


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"something else entirely, and long enough to be looked at\n" * 40)
    sentence = problem(sqlite_url(path))
    assert f"{path} cannot be opened: file is not a database; put back what was there, or move" in sentence


@pytest.mark.parametrize("url", ["", "not an address", "nosuchdatabase://host/db", "http://[::1", "é://"])
def test_an_address_that_means_nothing_is_a_problem(url: str) -> None:
    assert problem(url).startswith("the state store's address cannot be used: ")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_store_that_would_forget_is_a_problem(url: str) -> None:
    assert problem(url) == "the state store's address names no file, and memory would forget: name one"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    assert "hunter2" not in problem(f"sqlite://user:hunter2@/{tmp_path}/missing/state.db")


def test_a_database_that_turns_read_only_is_a_problem_for_whoever_writes(path: Path) -> None:
    reopened(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    database.close()
    readonly = f"sqlite:///file:{path}?mode=ro&uri=true"
    try:
        store = Store.open(readonly)
    except StoreProblem as refused:
        sentence = str(refused)
    else:
        with pytest.raises(StoreProblem) as raised:
            store.deploy(spec("a"), 1.0)
        sentence = str(raised.value)
        store.close()
    assert "attempt to write a readonly database" in sentence


def test_a_database_that_breaks_is_a_problem_for_whoever_reads_or_writes(store: Store, path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE deployments")
        database.execute("DROP TABLE nodes")
    database.close()
    for broken in (
        store.deployments,
        lambda: store.nodes("worker"),
        lambda: store.deploy(spec("a"), 1.0),
        lambda: store.set_deleting("a:llamacpp"),
        lambda: store.saw_node("w1", "worker", 1.0),
    ):
        with pytest.raises(StoreProblem, match="no such table"):
            broken()
