"""Keeps the search for cyclic garbage short, since it holds the event loop: it looks only at what is new.

Python looks through all objects again and again: 80 ms for a middling cluster. Here what such a *full*
collection leaves is *frozen* (``gc.freeze``), so that the next one looks only at what came since. What is
frozen may become garbage later: about once an hour, while the node is idle, everything is looked at.
"""

from __future__ import annotations

import gc
import time
from typing import Final, NoReturn

import anyio

FULL: Final = 5
"""Collections of the younger generations before a full one: that looks at some 35,000 new objects then."""

INTERVAL: Final = 5.0
"""Seconds between two looks whether the node is idle."""

IDLE: Final = 0.2
"""The share of one core that an idle node uses at most."""

THAW: Final = 3600.0
"""Seconds from one look at everything to the next; it waits for an idle node."""

PATIENCE: Final = 24
"""Times ``THAW`` after which a node that is never idle looks at everything all the same."""


async def keep_collections_short(interval: float = INTERVAL) -> NoReturn:
    """Take over the collections of this process, until cancelled; then they are Python's own again.

    What there is already is not looked at now.

    Args:
        interval: See ``INTERVAL``.
    """
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], FULL)
    gc.callbacks.append(_freeze)
    gc.freeze()
    try:
        thawed = time.monotonic()
        while True:
            began, used = time.monotonic(), time.process_time()
            await anyio.sleep(interval)
            now = time.monotonic()
            idle = time.process_time() - used <= IDLE * (now - began)
            if now - thawed >= (THAW if idle else THAW * PATIENCE):
                thawed = now
                gc.unfreeze()
                gc.collect()
                gc.collect()  # of nothing: Python waits for a quarter of what it saw the last time to be new
    finally:
        gc.callbacks.remove(_freeze)
        gc.unfreeze()
        gc.set_threshold(*before)


def _freeze(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
