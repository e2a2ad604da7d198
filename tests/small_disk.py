"""A disk of a few kilobytes that can be filled to the last."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import frozen


@frozen
class SmallDisk:
    """A mounted tmpfs."""

    folder: Path

    def fill(self, *, but: int = 0) -> None:
        """Take all that is left, but for so many bytes."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            with suppress(OSError):
                while True:
                    ballast.write(b"\0" * 4096)
            ballast.truncate(ballast.tell() - but)

    def free(self) -> None:
        """Give it back."""
        (self.folder / "ballast").unlink()

    def seal(self) -> None:
        """Let nobody write any more. Nothing may be open for writing."""
        remount_read_only = 32 | 1
        if _libc().mount(b"small", str(self.folder).encode(), b"tmpfs", remount_read_only, None) != 0:
            raise OSError(ctypes.get_errno(), "the disk cannot be made read-only")


@contextmanager
def small_disk(folder: Path, size: int = 1024 * 1024) -> Iterator[SmallDisk]:
    """Mount one; skip where that cannot be done."""
    libc = _libc()
    folder.mkdir()
    if libc.mount(b"small", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode()) != 0:
        pytest.skip(f"needs to be root, to mount ({os.strerror(ctypes.get_errno())})")
    try:
        yield SmallDisk(folder)
    finally:
        libc.umount2(str(folder).encode(), 2)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
