"""Writing the log of a replica: a folder of files, each named by the byte position where it begins.

``leash.py`` loads this file by path, so it imports nothing but the standard library. ``log_reader``
reads what is written here.
"""

from __future__ import annotations

import os
import re

SEGMENT = 4 * 1024 * 1024  # bytes of one file of the log
SEGMENTS = 4  # files of the log that are kept


class Log:
    """The log of one replica: a folder of files, each named by the byte position in the log where it begins.

    So a position in the log stays valid when old files are removed. A file has about ``SEGMENT`` bytes, and
    ``SEGMENTS`` files are kept. Output that cannot be written (disk full) is dropped: an engine must never
    block on its output.

    Args:
        folder: Made if need be.

    Raises:
        OSError: The folder or a file in it cannot be made.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - kept free of pathlib, for a fast start
        self._folder = folder
        starts = self._starts()
        self._begin = starts[-1] if starts else 0
        self._fd = self._open(self._begin)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append; if the present file is full, begin a new one and remove the oldest."""
        try:
            if self._size >= SEGMENT:
                self._rotate()
            while data:
                written = os.write(self._fd, data)
                self._size += written
                data = data[written:]
        except OSError:
            return

    def _rotate(self) -> None:
        fresh = self._open(self._begin + self._size)  # may fail (disk full): then the old one goes on
        os.close(self._fd)
        self._fd = fresh
        self._begin += self._size
        self._size = os.fstat(fresh).st_size
        for start in self._starts()[:-SEGMENTS]:
            os.unlink(self._path(start))  # noqa: PTH108

    def _open(self, begin: int) -> int:
        return os.open(self._path(begin), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _starts(self) -> list[int]:
        names = os.listdir(self._folder)  # noqa: PTH208
        return sorted(int(name[:-4]) for name in names if re.fullmatch(r"\d{20}\.log", name))

    def _path(self, start: int) -> str:
        return f"{self._folder}/{start:020}.log"
