"""When a node looks for cyclic garbage: fully only while it is idle, since that holds its event loop.

A full collection looks at every object: 57 ms for the 200,000 of a middling cluster. So none happens by
itself here. What a collection leaves is *frozen* (``gc.freeze``): later ones look only at what came since.
"""

from __future__ import annotations

import gc
import time
from typing import Final, NoReturn

import anyio

INTERVAL: Final = 5.0
"""Seconds between two looks whether the node is idle."""

IDLE: Final = 0.2
"""The share of one core that an idle node uses at most."""

PATIENCE: Final = 60
"""After so many looks in a row at a busy node a collection happens all the same."""

THAW: Final = 720
"""After so many collections what is frozen is looked at again, too: it may have become garbage."""

_NEVER: Final = 1_000_000  # collections of the younger generations before a full one


async def collect_when_idle(interval: float = INTERVAL) -> NoReturn:
    """Take over the full collections of this process, until cancelled; then they are Python's own again."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], _NEVER)
    collections = busy = 0
    try:
        while True:
            began, used = time.monotonic(), time.process_time()
            await anyio.sleep(interval)
            share = (time.process_time() - used) / (time.monotonic() - began)
            if share > IDLE and busy < PATIENCE:
                busy += 1
                continue
            busy, collections = 0, collections + 1
            if collections % THAW == 0:
                gc.unfreeze()
            gc.collect()
            gc.freeze()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
