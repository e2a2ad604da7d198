"""What this machine has, as far as engines care."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from attrs import frozen


@frozen
class Machine:
    """Memory in bytes; ``gpus`` are device names."""

    cpus: int
    memory_total: int
    memory_free: int
    gpus: tuple[str, ...]


def take_stock(gpus: int | None) -> Machine:
    """Look at the machine; blocks for some milliseconds.

    Args:
        gpus: How many GPUs engines may use, or None for all that the driver shows.
    """
    memory = psutil.virtual_memory()
    found = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    names = tuple(found) if gpus is None else tuple(f"gpu{n}" for n in range(gpus))
    return Machine(len(os.sched_getaffinity(0)), memory.total, memory.available, names)
