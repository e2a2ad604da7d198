"""The deployments come back from ``deployments.json`` when the database is gone."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from structlog.testing import capture_logs
from tests.serving.kit import until
from tests.serving.store.stored import deployed, reopened, revision
from tests.small_disk import small_disk

from sllm_actors import __version__
from sllm_actors.files import DRAFT
from sllm_actors.serving.store.behind import write_behind
from sllm_actors.serving.store.beside import FORMAT
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import NodeRecord, StoredState
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import AddJournal, PutNode, PutRevision, RaiseEpoch, RemoveDeployment


@pytest.fixture
def file(path: Path) -> Path:
    return path.with_name("deployments.json")


def begun(path: Path) -> Store:
    return reopened(path, beside=path.parent)


def filled(path: Path) -> StoredState:
    """Make a store that holds something of everything; close it, and return what of it the file holds."""
    store = begun(path)
    store.apply(deployed("1", "a:vllm", generation=2, reserved=64, paused="a person asked", target=2))
    store.apply([PutRevision(revision("1", "a:vllm", 2, failed="é\n'\"\\ ☃"))])
    store.apply([*deployed("2", "b:vllm", current=4), *deployed("3", "c:vllm")])
    store.apply([RemoveDeployment("2", 5.5), RaiseEpoch(3), PutNode(NodeRecord("w1", "worker"))])
    state = store.load()
    store.close()
    return StoredState(
        fresh=True,
        deployments=state.deployments,
        revisions=state.revisions,
        deletions=state.deletions,
        last_revisions=state.last_revisions,
    )


def lose(path: Path) -> None:
    for each in path.parent.glob("state.db*"):
        each.unlink()


def problem(path: Path) -> str:
    with pytest.raises(StoreProblem) as raised:
        begun(path)
    assert "\n" not in str(raised.value)
    assert not path.exists(), "a database was made without the deployments"
    return str(raised.value)


def test_deployments_come_back_whole_when_the_database_is_gone(path: Path, file: Path) -> None:
    kept = filled(path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lose(path)
    with capture_logs() as logs:
        store = begun(path)
    assert store.load() == kept
    (told,) = [each for each in logs if "deployments" in each]
    assert [told[key] for key in ("event", "log_level", "file", "deployments")] == [
        *("store.deployments_taken_from_file", "warning", str(file), 2)
    ]
    store.close()
    again = begun(path)
    assert again.load() == kept, "they are in the new database, which no head has settled on yet"
    again.close()


def test_the_file_is_for_people_and_names_its_format_and_program(path: Path, file: Path) -> None:
    filled(path)
    content = json.loads(file.read_text())
    assert (content["format"], content["program"]) == (FORMAT, __version__)
    assert content["deployments"][0]["paused"] == "a person asked"
    assert '"uid": "1"' in file.read_text().splitlines()[2]


def test_an_empty_store_keeps_an_empty_file(path: Path, file: Path) -> None:
    begun(path).close()
    assert json.loads(file.read_text())["deployments"] == []
    lose(path)
    store = begun(path)
    assert store.load() == StoredState(fresh=True)
    store.close()


def test_a_database_that_is_there_goes_before_the_file(path: Path, file: Path) -> None:
    filled(path)
    old = file.read_text()
    store = begun(path)
    store.apply(deployed("9", "z:vllm"))
    state = store.load()
    store.close()
    file.write_text(old)
    store = begun(path)
    assert store.load() == state
    assert store.files_are_behind, "it may be from before a crash"
    store.write_files()
    assert '"uid": "9"' in file.read_text()
    store.close()


def test_the_file_is_written_only_behind_changes_of_deployments(path: Path, file: Path) -> None:
    store = begun(path)
    store.write_files()
    file.unlink()
    store.apply([RaiseEpoch(2), PutNode(NodeRecord("w1", "worker")), AddJournal(())])
    assert not store.files_are_behind
    store.write_files()
    assert not file.exists()
    store.apply(deployed("1", "a:vllm"))
    with pytest.raises(StoreProblem):
        store.apply([PutRevision(revision("none", "b:vllm", 1))])
    store.write_files()
    assert len(json.loads(file.read_text())["deployments"]) == 1
    store.close()


def test_a_store_that_keeps_no_file_writes_none(path: Path, file: Path, store: Store) -> None:
    store.apply(deployed("1", "a:vllm"))
    assert not store.files_are_behind
    store.write_files()
    store.close()
    assert not file.exists()


def test_writers_of_the_file_in_several_threads_leave_the_newest(path: Path, file: Path) -> None:
    store = begun(path)

    def write(number: int) -> None:
        for step in range(10):
            store.apply(deployed(f"{number}-{step}", f"m{number}-{step}:vllm"))
            store.write_files()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not store.files_are_behind
    assert len(json.loads(file.read_text())["deployments"]) == 40
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        {"deployments": [{"uid": "1"}]},
        {"deployments": "many"},
        {"deployments": [{"uid": 1, "id": "a:vllm", "created": 1.0}]},
        {"last_revisions": {"a:vllm": "two"}},
        {"format": "1"},
        {"format": True},
    ],
)
def test_a_file_that_holds_something_else_is_put_aside(
    path: Path, file: Path, damage: dict[str, Any]
) -> None:
    filled(path)
    content = json.loads(file.read_text()) | damage
    lose(path)
    file.write_text(json.dumps(content))
    with capture_logs() as logs:
        store = begun(path)
    assert store.load() == StoredState(fresh=True)
    store.close()
    assert json.loads(file.with_name("deployments.json.damaged").read_text()) == content
    damaged = [each["path"] for each in logs if each["event"] == "file.damaged"]
    assert damaged == [str(file)]


def test_a_file_of_a_later_program_is_refused_with_its_version(path: Path, file: Path) -> None:
    filled(path)
    content = json.loads(file.read_text()) | {"format": FORMAT + 1, "program": "3.1.4", "deployments": {}}
    lose(path)
    file.write_text(json.dumps(content))
    assert problem(path) == (
        f"{file} has format 2 of sllm_actors 3.1.4, this program reads 1: "
        "use the version that wrote it, or move it away to begin without deployments"
    )
    assert json.loads(file.read_text()) == content


@pytest.mark.parametrize(
    ("name", "index", "change", "reason"),
    [
        ("revisions", 0, {"document": "{}"}, "a:vllm in {} cannot be read (the deployment names no model"),
        ("revisions", 0, {"uid": "8"}, "8 in {} cannot be read (revision 1 is of a:vllm)"),
        ("deployments", 0, {"current": 7}, "a:vllm in {} cannot be read (its revision 7 is missing)"),
        ("deployments", 1, {"target": 3}, "c:vllm in {} cannot be read (its revision 3 is missing)"),
    ],
)
def test_a_deployment_in_the_file_that_cannot_be_read_is_not_passed_over(
    path: Path, file: Path, name: str, index: int, change: dict[str, Any], reason: str
) -> None:
    filled(path)
    lose(path)
    content = json.loads(file.read_text())
    content[name][index] |= change
    file.write_text(json.dumps(content))
    sentence = problem(path)
    assert sentence.startswith("the deployment " + reason.format(file))
    assert sentence.endswith("): use the version that wrote it, or move it away to begin without deployments")


def test_a_damaged_database_says_that_the_file_is_there(path: Path, file: Path) -> None:
    filled(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StoreProblem) as raised:
        begun(path)
    assert str(raised.value).endswith(
        "put back what was there, or move the file away to begin without nodes, and with the deployments in"
        " deployments.json and the API keys in api-keys.json"
    )
    path.rename(path.with_name("away"))
    store = begun(path)
    assert len(store.load().deployments) == 2
    store.close()


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = reopened(path, beside=disk.folder)
        store.apply(deployed("1", "a:vllm"))
        store.write_files()
        file = disk.folder / "deployments.json"
        was = file.read_text()
        disk.fill()
        store.apply(deployed("2", "b:vllm", paused="x" * 5000))
        with pytest.raises(StoreProblem, match=f"^{file} cannot be written: No space left on device$"):
            store.write_files()
        there = ["api-keys.json", "ballast", "deployments.json"]
        assert sorted(each.name for each in disk.folder.iterdir()) == there
        assert file.read_text() == was
        assert store.files_are_behind
        store.close()


def test_what_a_killed_program_left_of_the_file_is_removed(path: Path, file: Path) -> None:
    left = path.with_name(f".deployments.json.abc{DRAFT}")
    left.write_text("{")
    other = path.with_name(f".other.json.abc{DRAFT}")
    other.write_text("{")
    begun(path).close()
    assert not left.exists()
    assert other.exists()


@pytest.mark.anyio
async def test_changes_are_in_the_file_soon_and_many_together(path: Path, file: Path) -> None:
    store = await to_thread.run_sync(begun, path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_behind, store, 0.01)
        for number in range(20):
            await to_thread.run_sync(store.apply, deployed(str(number), f"m{number}:vllm"))
        await until(lambda: not store.files_are_behind)
        tasks.cancel_scope.cancel()
    written = await to_thread.run_sync(file.read_text)
    assert len(json.loads(written)["deployments"]) == 20
    await to_thread.run_sync(store.close)


@pytest.mark.anyio
async def test_a_file_that_cannot_be_written_is_said_once_and_tried_again(
    path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[None] = []
    store = await to_thread.run_sync(begun, path)
    write = store.write_files

    def counted() -> None:
        tries.append(None)
        write()

    monkeypatch.setattr(store, "write_files", counted)
    await to_thread.run_sync(file.mkdir)
    with capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_behind, store, 0.01)
            await until(lambda: len(tries) > 2)
            await to_thread.run_sync(file.rmdir)
            await until(lambda: not store.files_are_behind)
            tasks.cancel_scope.cancel()
    assert [(each["event"], each["problem"]) for each in logs] == [
        ("store.file_not_written", f"{file} cannot be written: Is a directory")
    ]
    await to_thread.run_sync(store.close)
