"""Writing small files that are never seen half written. Blocks on the disk: call it in a thread."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str, *, durable: bool) -> None:
    """Write or replace a file: who reads it finds all of it, or what was there before.

    To be called by one writer of a path at a time.

    Args:
        durable: So it is after a crash of the whole machine, too, once this has returned.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
