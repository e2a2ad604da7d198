"""Weights on the disk, and how much of a file the kernel has in memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import secrets
from pathlib import Path

import pytest


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
