"""Where the actor system reads the time, so that a test can hold it still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import anyio


class Clock(Protocol):
    """A monotonic clock, in seconds, and a way to wait by it."""

    def now(self) -> float:
        """Return the time."""

    async def wait(self, event: anyio.Event, until: float) -> None:
        """Return when the event is set or the time has come, whichever is first."""


class LoopClock:
    """The clock of one event loop: also trio's ``MockClock``, when that one runs the loop."""

    __slots__ = ("_time",)

    def __init__(self) -> None:
        self._time: Callable[[], float] | None = None

    def now(self) -> float:
        if self._time is None:
            self._time = _time_of_the_loop()  # once: looking it up costs more than asking it
        return self._time()

    async def wait(self, event: anyio.Event, until: float) -> None:
        with anyio.CancelScope(deadline=until):
            await event.wait()


def _time_of_the_loop() -> Callable[[], float]:
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:
        return anyio.current_time
