"""Keeps the search for cyclic garbage short, since it holds the event loop: it looks only at what is new.

Python looks through all objects again and again: 80 ms for a middling cluster. Here what such a *full*
collection leaves is *frozen* (``gc.freeze``), so that the next one looks only at what came since. What is
frozen may become garbage later: now and then everything is looked at, if possible while the node is idle.
"""

from __future__ import annotations

import gc
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

THAW: Final = 3600.0
"""Seconds from one look at everything to the next, while the node is idle."""

FOUND: Final = 50_000
"""Objects of cyclic garbage that collections have found: as much may be frozen by now, and an idle node looks
at everything at once."""

PATIENCE: Final = 20
"""Times ``FOUND`` or ``THAW`` after which a node that is never idle looks at everything all the same."""


async def keep_collections_short(tick: float = TICK) -> NoReturn:
    """Take over the collections of this process, until cancelled; then they are Python's own again.

    What there is already is not looked at now.

    Args:
        tick: See ``TICK``.
    """
    found = 0
    before = gc.get_threshold()

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal found
        if phase == "stop":
            found += info["collected"]
            if info["generation"] == 2:
                gc.freeze()

    gc.set_threshold(*before[:2], FULL)
    gc.callbacks.append(collected)
    gc.freeze()
    try:
        thawed = time.monotonic()
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
            due = max((now - thawed) / THAW, found / FOUND)
            if due >= (1 if idle else PATIENCE):
                gc.unfreeze()
                gc.collect()
                gc.collect()  # of nothing: Python waits for a quarter of what it saw the last time to be new
                thawed, found = time.monotonic(), 0
    finally:
        gc.callbacks.remove(collected)
        gc.unfreeze()
        gc.set_threshold(*before)
