"""Moving an engine that runs already to other CPU cores, with all its processes and their threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable

PASSES = 2
"""How often the threads are gone through: one that starts during a pass inherits the cores of the thread that
started it, which may not have been moved yet."""


def bind_family(family: Callable[[], Iterable[int]], cores: Collection[int]) -> None:
    """Bind the processes of an engine to these cores, and so whatever they will start.

    Processes that end meanwhile are passed over; where the machine has none of the cores any more, nothing
    changes. Reads /proc once for each pass, and blocks for some milliseconds: an engine may have hundreds of
    threads.

    Args:
        family: Returns the process numbers of the engine as they are now.
        cores: Numbers of CPU cores.
    """
    bound: set[int] = set()
    for _ in range(PASSES):
        for process in family():
            with contextlib.suppress(OSError):
                for thread in set(map(int, os.listdir(f"/proc/{process}/task"))) - bound:  # noqa: PTH208
                    bound.add(thread)
                    _bind(thread, cores)


def _bind(thread: int, cores: Collection[int]) -> None:
    with contextlib.suppress(OSError):
        os.sched_setaffinity(thread, cores)
