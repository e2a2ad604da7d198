"""What the head's process measures of itself: steps, holds of its loop, processor, memory, collections."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from array import array
from collections import defaultdict
from statistics import median
from typing import Any

import psutil

from bench.harness.spread import percentile

TICK = 0.002
"""Seconds between two looks at the clock from within the loop."""


class Meter:
    """Measures the process that it lives in, from its making or the last ``begin`` on.

    A *hold* is the time from one tick of the loop to the next: never shorter than what held the loop, and
    longer by up to ``TICK``. The processor time of its thread in between is measured for itself: on a machine
    that does other work, the longest hold is not the one with the most work.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._loop = asyncio.get_running_loop()
        self._collecting = 0
        gc.callbacks.append(self._collected)
        self.begin()
        self._tick()

    def begin(self) -> None:
        """Forget what was measured so far."""
        self._steps: defaultdict[str, tuple[array[int], array[int]]] = defaultdict(
            lambda: (array("q"), array("q"))
        )
        self._hold, self._hold_cpu = 0.0, 0.0
        self._longest_collection = 0
        self._began = time.perf_counter()
        self._cpu = cpu_seconds()
        self._tick_at, self._tick_cpu = self._began, time.thread_time()

    def step(self, kind: str, nanoseconds: int, processor: int) -> None:
        """Note how long a step took, and what part of that the processor worked on it, in nanoseconds."""
        taken, used = self._steps[kind]
        taken.append(nanoseconds)
        used.append(processor)

    def figures(self) -> dict[str, Any]:
        """Return what was measured; plain values."""
        now = time.perf_counter()
        seconds, hold = now - self._began, max(self._hold, now - self._tick_at)
        return {
            "seconds": seconds,
            "cpu_share": (cpu_seconds() - self._cpu) / seconds,
            "steps": {kind: _summary(*taken) for kind, taken in self._steps.items()},
            "hold_ms": hold * 1e3,
            "hold_cpu_ms": self._hold_cpu * 1e3,
            "collection_ms": self._longest_collection / 1e6,
            "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "rss_now_mib": self._process.memory_info().rss / 2**20,
        }

    def _tick(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self._hold = max(self._hold, now - self._tick_at)
        self._hold_cpu = max(self._hold_cpu, cpu - self._tick_cpu)
        self._tick_at, self._tick_cpu = now, cpu
        self._loop.call_later(TICK, self._tick)

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time_ns()
        if phase == "start":
            self._collecting = now
        else:
            self._longest_collection = max(self._longest_collection, now - self._collecting)


def cpu_seconds() -> float:
    """Return the processor time of all threads of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _summary(taken: array[int], used: array[int]) -> dict[str, float]:
    micros = [each / 1e3 for each in taken]
    return {
        "count": len(micros),
        "p50_us": median(micros),
        "p99_us": percentile(micros, 0.99),
        "max_us": max(micros),
        "cpu_p99_us": percentile([each / 1e3 for each in used], 0.99),
    }
