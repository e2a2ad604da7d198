"""What processes use: processor time to the nanosecond, and memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil

from .target import Target

PROCESS_CLOCK = 2
"""The clock of a process that counts what the scheduler gave it, all threads together (Linux)."""

QUIET = 0.05
"""The share of a core that an idle system may use, for each group of its processes."""

QUIET_WITHIN = 20.0
LOOK = 0.2


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor time, user and system, that these processes have used so far.

    Raises:
        OSError: One of them is gone.
    """
    return sum(time.clock_gettime((~pid << 3) | PROCESS_CLOCK) for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory that these processes have resident, shared pages counted for each."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def quiet(target: Target) -> bool:
    """Wait until a system has done its work; return False if it goes on for longer than ``QUIET_WITHIN``.

    One of which a process is gone is quiet: the next load on it will say so.
    """
    pids = [pid for group in target.groups.values() for pid in group]
    idle = QUIET * LOOK * max(1, len(target.groups))
    deadline = time.monotonic() + QUIET_WITHIN
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            before = processor_seconds(pids)
            time.sleep(LOOK)
            if processor_seconds(pids) - before < idle:
                return True
        return False
    return True
