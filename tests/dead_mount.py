"""A mount whose server is away: whatever looks at it waits, until it is unmounted."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DETACH = 2


@contextmanager
def dead_mount(folder: Path) -> Iterator[Path]:
    """Mount a file system (FUSE) that never answers; skip where that cannot be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    try:
        server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"needs /dev/fuse ({error.strerror})")
    try:
        options = f"fd={server},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if libc.mount(b"away", str(folder).encode(), b"fuse", 0, options.encode()) != 0:
            pytest.skip(f"needs to be root, to mount ({os.strerror(ctypes.get_errno())})")
        try:
            yield folder
        finally:
            libc.umount2(str(folder).encode(), DETACH)
    finally:
        os.close(server)  # whoever waits is let go
