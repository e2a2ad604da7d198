"""Numbers for engine lives that rise over the restarts of their worker, too."""

from __future__ import annotations

import threading
from pathlib import Path

from sllm_actors.files import write_whole

BLOCK = 64


class Attempts:
    """A counter in a file. It reserves a block of numbers at a time, so numbers are skipped, never repeated.

    May be used from several threads, by one process.

    Args:
        path: Where it is kept; made at the first use.

    Raises:
        ValueError: The file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reserved = int(path.read_text()) if path.exists() else 0
        self._last = self._reserved

    def next(self) -> int:
        """Return the next number, from 1. Blocks on the disk now and then.

        Raises:
            OSError: A new block could not be recorded.
        """
        with self._lock:
            if self._last >= self._reserved:
                self._record(self._reserved + BLOCK)
                self._reserved += BLOCK
            self._last += 1
            return self._last

    def _record(self, number: int) -> None:
        write_whole(self._path, str(number), durable=True)
