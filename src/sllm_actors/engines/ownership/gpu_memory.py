"""Waiting until the driver of GPUs has back the memory of processes that have ended.

``leash.py`` loads this file by path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import subprocess
import time

MEMORY_BUDGET = 20.0  # seconds for the memory to be given back
MEMORY_PAUSE = 0.2  # seconds between two looks at it
MEMORY_NOISE = 16  # MiB: less is no change


def wait_for_memory(program: list[str]) -> None:
    """Wait until the driver has taken back the GPU memory of ended processes: until its use no longer falls.

    Gives up after ``MEMORY_BUDGET`` seconds, or when the program fails.

    Args:
        program: Prints how many MiB of each GPU are in use; empty: nothing is waited for.
    """
    deadline = time.monotonic() + MEMORY_BUDGET
    before: list[int] = []
    while program and time.monotonic() < deadline:
        try:
            said = subprocess.run(program, capture_output=True, timeout=MEMORY_BUDGET, check=True).stdout
            now = [int(figure) for figure in said.split()]
        except (OSError, ValueError, subprocess.SubprocessError):
            return
        if before and all(new >= old - MEMORY_NOISE for new, old in zip(now, before, strict=False)):
            return
        before = now
        time.sleep(MEMORY_PAUSE)
