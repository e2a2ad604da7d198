"""Reads a model's weights into the page cache while its engine still imports its code.

An engine of vLLM spends seconds before it opens the first file of weights; a disk can be read meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import anyio
import psutil
import structlog
from anyio import from_thread, to_thread
from attrs import frozen

from .shards import shard_of

log = structlog.get_logger("sllm_actors.models")

STEP = 8 * 1024 * 1024
"""Bytes that are read at a time: a cancellation is seen between two of them."""

RATE = 2e9
"""Bytes per second at the most: other engines read and write, too."""

FILLS = 0.5
"""The part of the available memory that weights may have; larger ones would push each other out."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")


@frozen
class Prefetched:
    """What a prefetch has done.

    Attributes:
        size: Bytes of the weights.
        read: Bytes of them that were not in memory and had to be read from the disk.
        seconds: How long the prefetch took.
    """

    size: int
    read: int
    seconds: float


def weight_files(model: Path) -> tuple[Path, ...]:
    """Return the files of weights of a model's file (with its other parts) or folder. Blocks on the disk."""
    if model.is_file():
        shard = shard_of(model.name)
        files = [model] if shard is None else [model.with_name(name) for name in shard.names]
        return tuple(file for file in files if file.is_file())
    for pattern in _WEIGHTS:
        if found := sorted(path for path in model.glob(pattern) if path.is_file()):
            return tuple(found)
    return ()


def fits(size: int, available: int) -> bool:
    """Say whether weights are worth reading ahead: whether they would still be there when they are needed."""
    return size <= available * FILLS


async def prefetch(model: Path, *, rate: float = RATE) -> Prefetched | None:
    """Read the weights of a model into the page cache, in a thread.

    A cancellation does not wait for the disk: the thread ends after its next step. An error is only logged:
    the engine meets it itself when it reads the files.

    Args:
        model: A file or a folder.
        rate: Bytes per second at the most.

    Returns:
        What was done, or None when there is nothing to be read, or no room for it.
    """
    done = await to_thread.run_sync(
        _prefetch, model, rate, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
    )
    if done is not None:
        log.info("model.prefetched", model=str(model), size=done.size, read=done.read, seconds=done.seconds)
    return done


def _prefetch(model: Path, rate: float) -> Prefetched | None:
    since = time.monotonic()
    try:
        files = weight_files(model)
        size = sum(file.stat().st_size for file in files)
        if not size or not fits(size, psutil.virtual_memory().available):
            return None
        read = _read_all(files, rate)
    except OSError as error:
        log.warning("model.not_prefetched", model=str(model), reason=error.strerror or str(error))
        return None
    return Prefetched(size, read, round(time.monotonic() - since, 3))


def _read_all(files: Iterable[Path], rate: float) -> int:
    """Read what is not in memory yet; return how many bytes that were."""
    buffer = memoryview(bytearray(STEP))
    read = 0
    begun = time.monotonic()
    for path in files:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead, which is not counted
            for offset in range(0, size, STEP):
                from_thread.check_cancelled()
                step = min(STEP, size - offset)
                if not _is_in_memory(descriptor, offset, step):
                    os.preadv(descriptor, [buffer[:step]], offset)
                    read += step
                    time.sleep(max(0.0, begun + read / rate - time.monotonic()))
        finally:
            os.close(descriptor)
    return read


def _is_in_memory(descriptor: int, offset: int, step: int) -> bool:
    """Say whether a step's first and last bytes can be had without the disk."""
    byte = bytearray(1)
    try:
        for place in (offset, offset + step - 1):
            os.preadv(descriptor, [byte], place, os.RWF_NOWAIT)
    except OSError:  # not now, or not known on this file system
        return False
    return True
