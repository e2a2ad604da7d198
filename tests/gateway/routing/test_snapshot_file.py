"""What is on a gateway's disk: whole, the newest, and put aside where it cannot be read."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest
from tests.gateway.kit import served

from sllm_actors.gateway.routing.memory.snapshot_file import VERSION, Snapshot, SnapshotFile
from sllm_actors.serving.messages import WorkerAddress

SNAPSHOT = Snapshot(
    (served(created=5.0, uid="u", revisions=(1, 3)), served("é\ud7ff", "vllm", no_place='a "place"')),
    (WorkerAddress("worker-1", "10.0.0.1", 8002), WorkerAddress("worker-2", "::1", 1)),
)


def test_a_snapshot_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "routing.json")
    assert file.load() is None
    for number, snapshot in enumerate((Snapshot(), SNAPSHOT), 1):
        file.save(number, snapshot)
        assert SnapshotFile(file.path).load() == snapshot
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["routing.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 5000,
        json.dumps({"version": 1, "table": {"epoch": [1, 2], "models": [], "workers": []}}),
        json.dumps({"version": VERSION + 1, "models": [], "workers": []}),
        json.dumps({"version": VERSION, "models": [{"id": 1}], "workers": []}),
    ],
)
def test_a_file_that_is_damaged_or_of_another_version_is_put_aside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "routing.json"
    path.write_text(content)
    assert SnapshotFile(path).load() is None
    assert [each.name for each in tmp_path.iterdir()] == ["routing.json.damaged"]


def test_a_disk_that_takes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "missing" / "routing.json")
    with pytest.raises(OSError):
        file.save(1, SNAPSHOT)
    file.path.parent.mkdir()
    file.save(1, SNAPSHOT)
    assert file.load() == SNAPSHOT, "what failed is written with the same number"


def test_a_thread_that_was_overtaken_does_not_write_what_is_older(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "routing.json")
    newer = threading.Thread(target=file.save, args=(2, SNAPSHOT))
    with file._lock:
        newer.start()
    newer.join()
    file.save(1, Snapshot())
    assert file.load() == SNAPSHOT
