"""Weights come into memory while an engine starts, and never get in its way."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import secrets
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from structlog.testing import capture_logs
from tests.engines.kit import FakeBackend, report_of, start, until

from sllm_actors.engines.backends.backend import Launch
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder, ReplicaState
from sllm_actors.engines.plan import EnginePaths
from sllm_actors.engines.replica import engine_life
from sllm_actors.models import prefetch as module
from sllm_actors.models.prefetch import STEP, fits, prefetch, weight_files
from sllm_actors.testing import TestSystem

pytestmark = pytest.mark.anyio

KEY = ReplicaKey("m:fake", 1, 1)


def write(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(secrets.token_bytes(1024) * (size // 1024))
        file.flush()
        os.fsync(file.fileno())
    return path


def forget(path: Path) -> None:
    """Have the kernel drop a file from its page cache; skip the test where it does not."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(path):
        pytest.skip("this file system keeps its files in memory")


def in_memory(path: Path) -> int:
    """Return how many bytes of a file are in memory; looking changes nothing."""
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        assert (
            ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), pages)
            == 0
        )
        del start
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


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


async def test_a_prefetch_ends_with_the_engine_that_it_is_for(tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", 4 * STEP)
    forget(file)
    with anyio.fail_after(5), anyio.move_on_after(0.1) as scope:
        await prefetch(file, rate=STEP / 1.0)
    assert scope.cancelled_caught


class Importing(FakeBackend):
    """Starts a fake engine that has weights, which it does not read."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def launch(self, order: ReplicaOrder, host: EngineHost, paths: EnginePaths) -> Launch:
        return evolve(super().launch(order, host, paths), weights=self.weights)


async def test_weights_are_in_memory_before_a_starting_engine_asks_for_them(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "model.safetensors", 3 * STEP)
    forget(file)
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Importing(tmp_path))
    async with TestSystem() as system:
        _, probe = await start(system, ReplicaOrder(KEY, "m", "fake", "--start 60"), host)
        await report_of(probe, ReplicaState.STARTING, lambda report: report.pid > 0)
        await until(lambda: in_memory(file) == 3 * STEP, timeout=30)


async def test_an_engine_is_ready_although_its_weights_are_still_being_read(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "model.safetensors", 20 * STEP)
    forget(file)
    monkeypatch.setattr(module.prefetch, "__kwdefaults__", {"rate": STEP / 2.0})
    monkeypatch.setattr(engine_life, "backend_named", lambda _: Importing(tmp_path))
    async with TestSystem() as system:
        _, probe = await start(system, ReplicaOrder(KEY, "m", "fake", "--start 4"), host)
        await until(lambda: in_memory(file) >= STEP)
        await report_of(probe, ReplicaState.READY)
        await anyio.sleep(2.1)  # the step that was under way
        read = in_memory(file)
        assert read < 20 * STEP
        await anyio.sleep(2.1)
        assert in_memory(file) <= read  # the kernel may drop pages


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
