"""API keys come back from ``api-keys.json`` when the database is gone."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.serving.store.stored import deployed, reopened

from sllm_actors.serving.keys.secret import digest_of
from sllm_actors.serving.store.beside import FORMAT
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.records import ApiKeyRecord
from sllm_actors.serving.store.store import Store
from sllm_actors.serving.store.writes import DropApiKey, PutApiKey, RaiseEpoch

CHAT = ApiKeyRecord("chat", digest_of(b"chat's key"), 2.0, 10.5)
BATCH = ApiKeyRecord("batch", digest_of(b"batch's key"), 0.25, 20.5)


@pytest.fixture
def file(path: Path) -> Path:
    return path.with_name("api-keys.json")


def begun(path: Path) -> Store:
    return reopened(path, beside=path.parent)


def fill(path: Path) -> None:
    """Make a store with two keys, and one that is deleted; close it."""
    store = begun(path)
    store.apply([PutApiKey(CHAT), PutApiKey(BATCH), PutApiKey(ApiKeyRecord("lost", "5f", 1.0, 1.5))])
    store.apply([DropApiKey("lost")])
    store.close()


def lose(path: Path) -> None:
    for each in path.parent.glob("state.db*"):
        each.unlink()


def test_keys_come_back_whole_when_the_database_is_gone_and_the_journal_tells_it(
    path: Path, file: Path
) -> None:
    fill(path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lose(path)
    with capture_logs() as logs:
        store = begun(path)
    assert store.load().api_keys == (BATCH, CHAT)
    assert store.load().fresh
    (told,) = [each for each in logs if "keys" in each]
    assert [told[key] for key in ("event", "log_level", "file", "keys")] == [
        *("store.keys_taken_from_file", "warning", str(file), 2)
    ]
    entries = store.journal(10)
    assert [(each.subject, each.kind) for each in entries] == [
        *(("batch", "key.recovered"), ("chat", "key.recovered"))
    ]
    assert entries[1].sentence == (
        "the key chat, with the share 2, is taken back from api-keys.json: the database was not there"
    )
    assert CHAT.digest not in str(entries) + str(logs)
    store.close()


def test_a_database_that_is_there_goes_before_the_file(path: Path, file: Path) -> None:
    fill(path)
    old = file.read_text()
    store = begun(path)
    store.apply([DropApiKey("chat")])
    store.close()
    file.write_text(old)
    store = begun(path)
    assert store.load().api_keys == (BATCH,), "a key that was deleted opens nothing again"
    assert store.journal(10) == []
    store.close()
    assert "chat" not in file.read_text()


def test_each_file_is_written_only_behind_changes_of_what_it_holds(path: Path, file: Path) -> None:
    store = begun(path)
    store.write_files()
    deployments = file.with_name("deployments.json")
    deployments.unlink()
    store.apply([PutApiKey(CHAT)])
    assert store.files_are_behind
    store.write_files()
    assert json.loads(file.read_text())["keys"] == [
        {"name": "chat", "digest": CHAT.digest, "share": 2.0, "created": 10.5}
    ]
    assert not deployments.exists()
    file.unlink()
    store.apply([*deployed("1", "a:vllm"), RaiseEpoch(2)])
    store.write_files()
    assert deployments.exists()
    assert not file.exists()
    store.apply([DropApiKey("chat")])
    store.write_files()
    assert json.loads(file.read_text())["keys"] == []
    store.close()


def test_keys_are_kept_though_deployments_cannot_be_written(path: Path, file: Path) -> None:
    store = begun(path)
    file.with_name("deployments.json").mkdir()
    store.apply([PutApiKey(CHAT)])
    with pytest.raises(StoreProblem, match=r"deployments\.json cannot be written"):
        store.write_files()
    assert "chat" in file.read_text()
    assert store.files_are_behind
    store.close()


def test_deployments_come_back_without_a_file_of_keys(path: Path, file: Path) -> None:
    fill(path)
    lose(path)
    file.unlink()  # as an older program left it
    store = begun(path)
    assert store.load().api_keys == ()
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        {"keys": "many"},
        {"keys": [{"name": "chat"}]},
        {"keys": [{"name": "c" * 65, "digest": "5f", "share": 1.0, "created": 1.5}]},
        {"keys": [{"name": "chat", "digest": "", "share": 1.0, "created": 1.5}]},
        {"keys": [{"name": "chat", "digest": "5f", "share": 0.0, "created": 1.5}]},
        {"format": "1"},
    ],
)
def test_a_file_that_holds_something_else_is_put_aside(
    path: Path, file: Path, damage: dict[str, Any]
) -> None:
    fill(path)
    content = json.loads(file.read_text()) | damage
    lose(path)
    file.write_text(json.dumps(content))
    with capture_logs() as logs:
        store = begun(path)
    assert store.load().api_keys == ()
    store.close()
    assert json.loads(file.with_name("api-keys.json.damaged").read_text()) == content
    (told,) = [each for each in logs if each["event"] == "file.damaged"]
    assert (told["path"], told["meaning"]) == (
        *(str(file), "the database is new, and has no API keys: those that people have are refused"),
    )


def test_a_file_of_a_later_program_is_refused_with_its_version(path: Path, file: Path) -> None:
    fill(path)
    content = json.loads(file.read_text()) | {"format": FORMAT + 1, "program": "3.1.4", "keys": {}}
    lose(path)
    file.write_text(json.dumps(content))
    with pytest.raises(StoreProblem) as raised:
        begun(path)
    assert str(raised.value) == (
        f"{file} has format 2 of sllm_actors 3.1.4, this program reads 1: "
        "use the version that wrote it, or move it away to begin without API keys"
    )
    assert not path.exists(), "a database was made without the keys"
