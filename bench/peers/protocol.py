"""What a subject and the harness agree on: how long to measure, what to print. Standard library only."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

SMALL = b"s" * 64
"""The body of a small message."""

BODIES = {"1k": b"k" * 1024, "64k": b"k" * (64 * 1024), "1m": b"k" * 2**20}
"""Larger bodies, by the ending of their measures' names."""

BULK = 64
"""Messages of 1 MB that flow over and over while small ones are timed."""

BURST = 1000
"""Tells before one message that must come back."""

UNDER_WAY = 64
"""Asks that wait at the same time."""

FAN_OUT = 100
"""Actors that are asked at the same time."""


@dataclass(frozen=True)
class Scale:
    """How long to measure.

    Attributes:
        seconds: For each rate, after the warm-up.
        warm_up: Seconds before that, whose figures are thrown away.
        samples: Latencies behind each percentile.
        patience: Seconds after which a peer's percentile makes do with fewer samples.
        population: Actors started to see what an idle one costs.
    """

    seconds: float
    warm_up: float
    samples: int
    patience: float
    population: int


SCALES = {
    "full": Scale(seconds=1.0, warm_up=0.3, samples=5_000, patience=20.0, population=100_000),
    "quick": Scale(seconds=0.02, warm_up=0.0, samples=50, patience=2.0, population=1_000),
}


def emit(measure: str, value: float) -> None:
    """Print one figure as its JSON line."""
    sys.stdout.write(json.dumps({"measure": measure, "value": value}) + "\n")
    sys.stdout.flush()


def rate(work: Callable[[], int], seconds: float) -> float:
    """Repeat ``work`` for so many seconds, and return how many of what it counts were done in one second."""
    done = 0
    began = time.perf_counter()
    while not done or time.perf_counter() - began < seconds:
        done += work()
    return done / (time.perf_counter() - began)


async def async_rate(work: Callable[[], Awaitable[int]], seconds: float) -> float:
    """As ``rate``, for work that is awaited."""
    done = 0
    began = time.perf_counter()
    while not done or time.perf_counter() - began < seconds:
        done += await work()
    return done / (time.perf_counter() - began)


def emit_latencies(kind: str, seconds: Sequence[float]) -> None:
    """Print the median and the 99th percentile (nearest rank) of durations, in microseconds."""
    ordered = sorted(seconds)
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        emit(f"{kind}_{name}_us", ordered[math.ceil(share * len(ordered)) - 1] * 1e6)


def resident_bytes() -> int:
    """Return this process's resident memory."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no imports that a measurement would see
        return int(file.read().split()[1]) * 4096
