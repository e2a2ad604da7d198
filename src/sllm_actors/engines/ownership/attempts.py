"""The counter of a worker's engine lives, which goes on rising when the worker is restarted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from attrs import field, frozen
from attrs.validators import ge, le

from sllm_actors.files import FileProblem, put_aside, read_record, write_record

BLOCK = 64
"""How many numbers are reserved at once; so many are skipped at most when the worker is killed."""

LONGEST_RECORD = 1024
MOST = 2**53
"""The largest number that the file may hold: JSON readers keep it exact."""


class Attempts:
    """A counter in a file. It reserves ``BLOCK`` numbers at a time: numbers may be skipped, never repeated.

    Several threads of one process may use it. A damaged file is put aside with a warning; the counter then
    goes on from the time in seconds since the epoch, which is beyond whatever was counted before.

    Args:
        path: Its file; made at the first use.

    Raises:
        FileProblem: The file is damaged, and cannot be put aside.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reserved = _read(path)
        self._last = self._reserved

    def next(self) -> int:
        """Return the next number, from 1. Blocks on the disk once in ``BLOCK`` calls.

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
        write_record(self._path, _Kept(number), durable=True)


@frozen
class _Kept:
    reserved: int = field(validator=[ge(0), le(MOST)])


def _read(path: Path) -> int:
    try:
        kept = read_record(path, _Kept, LONGEST_RECORD)
    except FileProblem as problem:
        put_aside(problem, "attempts are numbered on from the time in seconds")
        return int(time.time())
    return 0 if kept is None else kept.reserved
