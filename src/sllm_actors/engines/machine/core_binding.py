"""Moving an engine that runs already to other CPU cores, with all its processes and their threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

import psutil

PASSES = 2
"""How often the threads are gone through: one that starts during a pass inherits the cores of the thread that
started it, which may not have been moved yet."""


def bind_descendants(pid: int, cores: Collection[int]) -> None:
    """Bind all descendants of a process to these cores, and so whatever they will start.

    Processes that end meanwhile are passed over; where the machine has none of the cores any more, nothing
    changes. Reads /proc, and blocks for some milliseconds.

    Args:
        pid: The process; it is not bound itself.
        cores: Numbers of CPU cores.
    """
    for _ in range(PASSES):
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(pid).children(recursive=True):
                _bind(process, cores)


def _bind(process: psutil.Process, cores: Collection[int]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        for thread in process.threads():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread.id, cores)
