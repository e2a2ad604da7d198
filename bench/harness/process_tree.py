"""A child with all its descendants: what they use, and how to be rid of them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psutil


def descendants(pid: int) -> list[psutil.Process]:
    """Return the process and everything below it; nothing when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes. psutil compares start times, so a number that was used again is safe."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def end(process: subprocess.Popen[bytes], within: float) -> None:
    """Ask a child to end, and kill what is left of it and its descendants when it has, or its time is over.

    Args:
        process: The child.
        within: Seconds that it gets.

    Raises:
        subprocess.TimeoutExpired: It did not end by itself.
    """
    family = descendants(process.pid)
    process.terminate()
    try:
        process.wait(within)
    finally:
        kill(family)
        process.wait()


class TreeMeter:
    """Measures the processor time and the memory of process trees by looking at them from time to time.

    Counted is the processor time of the processes that live at the moment of a look, and of those that their
    parents have waited for. What an orphan used is lost when it ends; what came after the last look is not
    seen.

    Attributes:
        seconds: Processor time, user and system, up to the last look.
        peak_bytes: The most memory that was resident at a look; what processes share is counted for each.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self.seconds = 0.0
        self.peak_bytes = 0

    def look(self) -> None:
        """Bring the figures up to date."""
        used, held = 0.0, 0
        for process in (each for pid in self._pids for each in descendants(pid)):
            try:
                times = process.cpu_times()
                held += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            used += times.user + times.system + times.children_user + times.children_system
        self.seconds = max(self.seconds, used)
        self.peak_bytes = max(self.peak_bytes, held)


LOOK = 0.2
"""Seconds between two looks of ``watching``: they cost about a per cent of one core."""


@contextmanager
def watching(*pids: int) -> Iterator[TreeMeter]:
    """Measure process trees while this context is open; the seconds are those used within it."""
    meter, ended = TreeMeter(*pids), threading.Event()
    meter.look()
    before = meter.seconds

    def look() -> None:
        while not ended.wait(LOOK):
            meter.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        ended.set()
        thread.join()
        meter.look()
        meter.seconds -= before
