"""Room is made on a real disk, under real locks."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.eviction import CachedModel
from sllm_actors.models.folder import FETCH, USE, ModelFolder
from sllm_actors.models.quota import cached_models
from sllm_actors.models.quota import make_room as make_room_for

GB = 1_000_000_000
PLENTY = 1 << 60


def keep(models: Path, name: str, size: int, used: float) -> ModelFolder:
    """Put a model there that was last used at some time."""
    folder = ModelFolder(models / name)
    folder.files.mkdir(parents=True)
    with (folder.files / "model.gguf").open("wb") as file:
        file.truncate(size)
    lock = folder.lock(USE, fcntl.LOCK_SH)
    assert lock is not None
    os.utime(lock, (used, used))
    os.close(lock)
    return folder


def make_room(models: Path, needed: int, quota: int | None, free: int) -> int:
    """Make room for a model that is fetched now; return how much was removed."""
    new = ModelFolder(models / "org--fresh@main")
    before = sum(each.size for each in cached_models(models))
    lock = new.lock(FETCH, fcntl.LOCK_EX)
    assert lock is not None
    try:
        make_room_for(new, "hf:org/fresh", needed, quota, lambda _: free)
    finally:
        os.close(lock)
        shutil.rmtree(new.path)
    return before - sum(each.size for each in cached_models(models))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    keep(tmp_path, "org--old@main", 2 * GB, 100.0)
    keep(tmp_path, "org--new@refs%2Fpr%2F1", 3 * GB, 200.0)
    keep(tmp_path, "demo--smollm2-135m", GB, 300.0)
    return tmp_path


def sources(models: Path) -> list[str]:
    return [each.source for each in cached_models(models)]


def test_models_are_listed_with_size_and_last_use_the_last_used_first(models: Path) -> None:
    (models / ".gone-x").mkdir()
    (models / "a-file").touch()
    assert cached_models(models) == (
        CachedModel("demo:smollm2-135m", GB, 300.0),
        CachedModel("hf:org/new@refs/pr/1", 3 * GB, 200.0),
        CachedModel("hf:org/old@main", 2 * GB, 100.0),
    )
    assert cached_models(models / "nowhere") == ()


def test_the_model_that_was_not_used_for_longest_makes_room(models: Path) -> None:
    assert make_room(models, GB, 6 * GB, PLENTY) == 2 * GB
    assert sources(models) == ["demo:smollm2-135m", "hf:org/new@refs/pr/1"]
    assert sorted(path.name for path in models.iterdir()) == [
        ".room.lock",
        "demo--smollm2-135m",
        "org--new@refs%2Fpr%2F1",
    ]
    assert make_room(models, GB, 6 * GB, PLENTY) == 0


@pytest.mark.parametrize("name", [USE, FETCH])
def test_a_model_that_is_used_or_fetched_is_never_removed(models: Path, name: str) -> None:
    lock = ModelFolder(models / "org--old@main").lock(name, fcntl.LOCK_SH)
    assert lock is not None
    try:
        assert make_room(models, GB, 6 * GB, PLENTY) == 3 * GB
        assert sources(models) == ["demo:smollm2-135m", "hf:org/old@main"]
    finally:
        os.close(lock)


def test_models_that_are_used_leave_no_room_in_the_quota(models: Path) -> None:
    lock = ModelFolder(models / "org--new@refs%2Fpr%2F1").lock(USE, fcntl.LOCK_SH)
    try:
        with pytest.raises(SourceProblem) as caught:
            make_room(models, 2 * GB, 4 * GB, PLENTY)
        assert str(caught.value) == (
            "it needs 2.0 GB, and this worker's models may have 4.0 GB, of which 3.0 GB are in use:"
            " give the worker a larger --storage-quota, or delete a deployment"
        )
        assert len(sources(models)) == 3
    finally:
        assert lock is not None
        os.close(lock)


def test_nothing_is_removed_for_a_model_that_does_not_fit_the_disk(models: Path) -> None:
    with pytest.raises(SourceProblem, match=r"hf:org/fresh needs 100 GB more in .* has 1.0 GB free:"):
        make_room(models, 100 * GB, None, GB)
    assert len(sources(models)) == 3


def test_what_is_being_fetched_has_its_room_already(models: Path) -> None:
    first, second = ModelFolder(models / "org--one@main"), ModelFolder(models / "org--two@main")
    lock, other = (each.lock(FETCH, fcntl.LOCK_EX) for each in (first, second))
    assert lock is not None
    assert other is not None
    try:
        make_room_for(first, "hf:org/one", 3 * GB, 6 * GB, lambda _: PLENTY)
        assert "demo:smollm2-135m" in sources(models)
        with pytest.raises(SourceProblem, match=r"it needs 4.0 GB, and this worker's models may have 6.0 GB"):
            make_room_for(second, "hf:org/two", 4 * GB, 6 * GB, lambda _: PLENTY)
        with pytest.raises(SourceProblem, match=r"which has 2.0 GB free, beside 3.0 GB for what is being"):
            make_room_for(second, "hf:org/two", 4 * GB, None, lambda _: 5 * GB)
        make_room_for(second, "hf:org/two", 2 * GB, 6 * GB, lambda _: PLENTY)
        assert sorted(sources(models)) == ["demo:smollm2-135m", "hf:org/one@main", "hf:org/two@main"]
    finally:
        os.close(lock)
    try:  # nobody fetches the first any more: what has not come of it needs no room
        make_room_for(second, "hf:org/two", 5 * GB, 6 * GB, lambda _: PLENTY)
    finally:
        os.close(other)


def test_what_a_dead_worker_was_removing_is_removed(models: Path) -> None:
    (models / ".gone-x" / "files").mkdir(parents=True)
    make_room(models, 1, None, PLENTY)
    assert not (models / ".gone-x").exists()
