"""Weights come into memory while an engine starts, and never get in its way."""

from __future__ import annotations

import errno
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from sllm_actors.models import prefetch as module
from sllm_actors.models.prefetch import STEP, fits, prefetch, weight_files

from .page_cache import forget, write

pytestmark = pytest.mark.anyio


async def test_weights_that_are_only_on_the_disk_are_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "model.safetensors", 3 * STEP)
    write(tmp_path / "tokenizer.json", 1024)
    forget(file)
    first = await prefetch(tmp_path)
    assert first is not None
    assert (first.size, first.read) == (3 * STEP, 3 * STEP)
    second = await prefetch(tmp_path)
    assert second is not None
    assert (second.size, second.read) == (3 * STEP, 0)


@pytest.mark.slow
async def test_a_prefetch_ends_with_the_engine_that_it_is_for(tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", 4 * STEP)
    forget(file)
    with anyio.fail_after(60), anyio.move_on_after(0.1) as scope:
        await prefetch(file, rate=STEP / 1.0)
    assert scope.cancelled_caught


async def test_weights_larger_than_the_memory_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "model.safetensors", 1024)
    monkeypatch.setattr(module, "FILLS", 0.0)
    assert await prefetch(tmp_path) is None
    assert fits(0, 10)
    assert not fits(6, 10)


async def test_a_folder_without_weights_is_no_trouble(tmp_path: Path) -> None:
    assert await prefetch(tmp_path) is None
    assert await prefetch(tmp_path / "nowhere") is None


async def test_weights_that_cannot_be_read_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "_read_all", broken)
    with capture_logs() as logs:
        assert await prefetch(write(tmp_path / "model.gguf", 1024)) is None
    assert (logs[0]["event"], logs[0]["reason"]) == ("model.not_prefetched", "Input/output error")


def test_the_best_form_of_the_weights_and_all_their_parts_are_meant(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors", "pytorch_model.bin", "m[1]-00001-of-00002.gguf"):
        (tmp_path / name).touch()
    second = tmp_path / "m[1]-00002-of-00002.gguf"
    second.touch()
    assert [path.name for path in weight_files(tmp_path)] == ["a.safetensors", "b.safetensors"]
    assert weight_files(second) == (tmp_path / "m[1]-00001-of-00002.gguf", second)
    assert weight_files(tmp_path / "pytorch_model.bin") == (tmp_path / "pytorch_model.bin",)
