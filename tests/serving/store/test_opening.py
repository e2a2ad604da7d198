"""A store that cannot be used is refused in one sentence that names it, and is left as it is."""

from __future__ import annotations

import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from tests.serving.store.stored import change, deployed, record, reopened
from tests.small_disk import small_disk

from sllm_actors.files import DRAFT
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.migrations import SCHEMA_VERSION
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import StoredState
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import PutDeployment, RaiseEpoch


def problem(url: str) -> str:
    with pytest.raises(StoreProblem) as raised:
        Store.open(url)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    return str(raised.value)


def tables(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("INSERT INTO node_keys VALUES ('w', 'worker', 'no hex', 1.0)", "the key of the node w"),
        ("UPDATE deployments SET current = 'many' WHERE uid = '3'", "the deployment m3:vllm in"),
        ("UPDATE deployments SET current = 4 WHERE uid = '3'", "m3:vllm .*its revision 4 is missing"),
        ("UPDATE deployments SET target = 5 WHERE uid = '3'", "m3:vllm .*its revision 5 is missing"),
        ("UPDATE deployments SET id = 'm:vllm' WHERE uid = '3'", "m:vllm .*revision 1 is of m3:vllm"),
        ("DELETE FROM deployments WHERE uid = '3'", "the deployment 3 .*revision 1 is of m3:vllm"),
        ("UPDATE revisions SET document = '{' WHERE uid = '3'", "m3:vllm .*is not JSON"),
        ("""UPDATE revisions SET document = '{"model": "m3", "later": 1}'""", 'unknown key "later"'),
        ("UPDATE revisions SET created = 'then' WHERE uid = '3'", "a revision of the deployment 3"),
        ("INSERT INTO deletions VALUES ('9', 'm9:vllm', 'late')", "the deleted deployment m9:vllm"),
        ("INSERT INTO nodes VALUES ('w', 'worker', x'00', 1.0, 0)", "the node w"),
        ("UPDATE last_revisions SET revision = 'x' WHERE id = 'm3:vllm'", "the last revision of m3:vllm"),
        ("UPDATE about SET epoch = 'high'", "what is said about it"),
        ("UPDATE about SET schema_version = 'two'", "the number of the schema"),
        ("UPDATE about SET schema_version = 0", "the number of the schema"),
    ],
)
def test_a_row_that_is_not_what_was_written_is_not_passed_over(
    store: Store, path: Path, statement: str, reason: str
) -> None:
    for number in range(5):
        store.apply(deployed(str(number), f"m{number}:vllm"))
    change(path, statement)
    sentence = problem(sqlite_url(path))
    assert re.search(reason, sentence)
    assert f"in the state store {path} cannot be read (" in sentence
    assert sentence.endswith("): use the version that wrote it, or another --data-dir")


def test_an_entry_of_the_journal_that_is_not_what_was_written_is_named_when_it_is_read(
    store: Store, path: Path
) -> None:
    change(path, "INSERT INTO journal VALUES (7, 'now', 'm', 'noted', 'something', 0, '', '')")
    with pytest.raises(StoreProblem, match="an entry of the journal 7 in the state store"):
        store.journal(1)


def test_a_later_schema_is_refused_with_the_program_that_made_it_and_left_as_it_is(
    store: Store, path: Path
) -> None:
    store.close()
    change(path, "UPDATE about SET schema_version = 9, program = '3.1.4'")
    change(path, "DROP TABLE nodes")
    was = tables(path)
    assert problem(sqlite_url(path)) == (
        f"the state store {path} has schema 9, this program reads {SCHEMA_VERSION}: use the version that"
        " wrote it (3.1.4), or another --data-dir"
    )
    path.with_name(f"state.db.v{SCHEMA_VERSION}").touch()
    assert problem(sqlite_url(path)) == (
        f"the state store {path} has schema 9, this program reads {SCHEMA_VERSION}: use the version that"
        f" wrote it (3.1.4), put back state.db.v{SCHEMA_VERSION} from before the upgrade, or another"
        " --data-dir"
    )
    assert tables(path) == was


def test_a_later_schema_that_names_no_program_is_refused_too(path: Path) -> None:
    change(path, "CREATE TABLE about (schema_version INTEGER NOT NULL)")
    change(path, "INSERT INTO about VALUES (9)")
    sentence = problem(sqlite_url(path))
    assert f"has schema 9, this program reads {SCHEMA_VERSION}: use the version that wrote it, or" in sentence
    assert tables(path) == ["about"]


def test_a_file_that_was_only_begun_is_finished(path: Path) -> None:
    change(path, "CREATE TABLE about (schema_version INTEGER NOT NULL)")
    reopened(path).close()
    after = reopened(path)
    assert after.load() == StoredState(fresh=True)
    after.close()


def test_what_a_killed_program_left_of_a_new_store_is_no_store(path: Path) -> None:
    draft = path.with_name(f".state.db{DRAFT}")
    for name in (draft.name, f"{draft.name}-journal"):
        path.with_name(name).write_bytes(b"half a page")
    made = reopened(path)
    made.apply([RaiseEpoch(3)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made.close()
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def test_a_log_that_was_left_beside_a_file_that_was_moved_away_is_not_taken_over(
    store: Store, path: Path
) -> None:
    store.apply(deployed("1", "a:vllm"))
    path.rename(path.with_name("moved"))
    assert path.with_name("state.db-wal").stat().st_size > 0
    after = reopened(path)
    assert after.load() == StoredState(fresh=True)
    after.close()
    assert path.with_name("state.db-wal.old").stat().st_size > 0, "it may belong to what was moved"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    sentence = problem(sqlite_url(tmp_path / "missing" / "state.db"))
    assert "missing/state.db cannot be opened: unable to open database file" in sentence


def test_a_link_to_a_disk_that_is_away_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "away" / "state.db")
    assert f"{path} cannot be opened: unable to open database file" in problem(sqlite_url(path))
    assert path.is_symlink()
    (tmp_path / "away").mkdir()
    reopened(path).close()
    assert (tmp_path / "away" / "state.db").stat().st_size > 0


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"something else entirely, and long enough to be looked at\n" * 40)
    sentence = problem(sqlite_url(path))
    assert f"{path} cannot be opened: file is not a database; put back what was there, or move" in sentence
    assert sentence.endswith("to begin without deployments, API keys and nodes")


@pytest.mark.parametrize("url", ["", "not an address", "nosuchdatabase://host/db", "http://[::1", "é://"])
def test_an_address_that_means_nothing_is_a_problem(url: str) -> None:
    assert problem(url).startswith("the state store's address cannot be used: ")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_store_that_would_forget_is_a_problem(url: str) -> None:
    assert problem(url) == "the state store's address names no file, and memory would forget: name one"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    assert "hunter2" not in problem(f"sqlite://user:hunter2@/{tmp_path}/missing/state.db")


@pytest.mark.slow
def test_a_full_disk_refuses_a_write_whole_and_takes_it_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.folder / "state.db"
        store = reopened(path)
        store.apply(deployed("1", "a:vllm"))
        disk.fill()
        before = store.load()
        sentences = []
        for number in range(200):  # until the log has used up the room that it had
            uid = f"u{number}"
            try:
                store.apply([RaiseEpoch(number), *deployed(uid, f"m{number}:vllm", paused="x" * 5000)])
                before = store.load()
            except StoreProblem as full:
                sentences.append(str(full))
        assert set(sentences) == {f"the state store {path} cannot be written: database or disk is full"}
        assert store.load() == before
        after = reopened(path)  # as a head that was started again
        assert after.load() == before
        after.close()
        disk.free()
        store.apply([PutDeployment(record("1", "a:vllm", paused="later"))])
        assert store.load().deployments[0].paused == "later"
        store.close()


def test_a_store_that_cannot_be_made_on_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        sentence = problem(sqlite_url(disk.folder / "state.db"))
        assert f"{disk.folder}/state.db cannot be made: " in sentence
        assert [each.name for each in disk.folder.iterdir()] == ["ballast"]
        disk.free()
        reopened(disk.folder / "state.db").close()


def test_a_store_on_a_disk_that_is_read_only_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.folder / "state.db"
        store = reopened(path)
        store.apply(deployed("1", "a:vllm"))
        store.close()
        was = path.read_bytes()
        disk.seal()
        sentence = problem(sqlite_url(path))
        assert f"the state store {path} cannot be opened: " in sentence
        assert path.read_bytes() == was
        sentence = problem(sqlite_url(disk.folder / "other.db"))
        assert sentence == f"the state store {disk.folder}/other.db cannot be made: Read-only file system"
