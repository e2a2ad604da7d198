"""An engine that runs already is moved to other CPU cores, with all its processes and their threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

import psutil

PASSES = 2
"""A thread that appears while we look has the cores of the one that made it, which may be the old ones."""


def bind_descendants(pid: int, cores: Collection[int]) -> None:
    """Let all descendants of a process run on these cores, and whatever they will start.

    Nothing happens to those that are gone meanwhile, or where the machine has none of the cores any more.
    It reads /proc and blocks for some milliseconds.
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
