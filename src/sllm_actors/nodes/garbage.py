"""Keeps the search for cyclic garbage short, since it holds the event loop: it looks only at what is new.

Python looks through all objects again and again: 80 ms for a middling cluster, over 500 ms for a large one.
Here what such a *full* collection leaves is *frozen* (``gc.freeze``), so that the next one looks only at what
came since. What is frozen may become garbage later. As much as that could be is bounded: when the process
holds a good deal more than after the last look at everything, it takes another one, if possible while the
node is idle. A node that holds no more than before has nothing to gain by it.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Final, NoReturn

import anyio

FULL: Final = 1
"""Collections of the younger generations before a full one: that looks at some 20,000 new objects then."""

NEW: Final = 10_000
"""Objects that have outlived the younger generations, and with which a tick begins a full collection."""

TICK: Final = 0.1
"""Seconds between two collections of the younger generations. Python itself begins one when there are more
objects than before; what takes the place of others would not count."""

WORK: Final = 0.5
"""The share of a tick for which the process must have computed since the last such collection, else the tick
leaves it to a later one: objects take time to make, and counting them takes as long as a hundred messages."""

TICKS: Final = 50
"""Ticks between two looks whether the node is idle; the last of them always collects."""

IDLE: Final = 0.2
"""The share of one core that an idle node uses at most."""

GROWN: Final = 0.5
"""The part of what the process held after its last look at everything by which it may hold more: an idle node
then looks at everything again."""

THAW: Final = 86_400.0
"""Seconds from one look at everything to the next, while the node is idle, though it holds no more."""

REST: Final = 900.0
"""Seconds from the start, or a look at everything, to the next one at least: a node that grows because there
is more for it to know looks seldom all the same."""

PATIENCE: Final = 4
"""Times ``GROWN`` or ``THAW`` after which a node that is never idle looks at everything all the same."""


async def keep_collections_short(tick: float = TICK) -> NoReturn:
    """Take over the collections of this process, until cancelled; then they are Python's own again.

    What there is already is not looked at now.

    Args:
        tick: See ``TICK``.
    """
    before = gc.get_threshold()

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            gc.freeze()

    gc.set_threshold(*before[:2], FULL)
    gc.callbacks.append(collected)
    gc.freeze()
    try:
        looked, held = time.monotonic(), sys.getallocatedblocks()
        while True:
            began = time.monotonic()
            used = collected_at = time.process_time()
            for number in range(1, TICKS + 1):
                await anyio.sleep(tick)
                at = time.process_time()
                if at - collected_at < WORK * tick and number < TICKS:
                    continue
                collected_at = at
                gc.collect(1)
                if len(gc.get_objects(generation=2)) >= NEW:
                    gc.collect()
            now = time.monotonic()
            idle = time.process_time() - used <= IDLE * (now - began)
            grown = sys.getallocatedblocks() / held - 1  # of up to 512 bytes, as objects are
            due = max((now - looked) / THAW, grown / GROWN)
            if now - looked >= REST and due >= (1 if idle else PATIENCE):
                gc.unfreeze()
                gc.collect()
                gc.collect()  # of nothing: Python waits for a quarter of what it saw the last time to be new
                looked, held = time.monotonic(), sys.getallocatedblocks()
    finally:
        gc.callbacks.remove(collected)
        gc.unfreeze()
        gc.set_threshold(*before)
