"""What a run takes from its seed instead of from the machine: threads, the time of day, random text."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, Protocol
from unittest.mock import patch

import anyio
import trio
from anyio import to_thread

WALL = 1_000_000.0
"""Seconds since the epoch when a run begins."""

KILLED = "the process was killed, and its threads with it"


class Process(Protocol):
    """A process of the simulation: its threads end with it."""

    dead: bool


here: ContextVar[Process | None] = ContextVar("here", default=None)
"""The process that a task belongs to."""


@contextmanager
def simulated(dice: random.Random) -> Iterator[None]:
    """Let everything in the block that would take a thread take virtual time instead."""

    async def run_sync(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        node = here.get()
        slow = dice.choice([0.001, 0.001, 0.01, 0.2])
        before, after = dice.expovariate(1 / slow), dice.expovariate(1 / slow)
        with anyio.CancelScope(shield=not options.get("abandon_on_cancel", False)):
            await anyio.sleep(before)
            if node is None or not node.dead:
                try:
                    return call(*arguments)
                finally:
                    await anyio.sleep(after)
        await anyio.lowlevel.checkpoint()
        raise OSError(KILLED)

    looks = count()  # what is measured takes a millisecond
    with (
        patch.object(to_thread, "run_sync", run_sync),
        patch.object(time, "perf_counter", lambda: 0.001 * next(looks)),
        patch.object(time, "time", lambda: WALL + trio.current_time()),
        patch.object(secrets, "token_hex", lambda size=16: f"{dice.getrandbits(8 * size):0{2 * size}x}"),
        patch.object(random, "random", dice.random),
    ):
        yield
