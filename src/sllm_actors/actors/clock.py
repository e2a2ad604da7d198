"""Where the actor system reads the time, so that a test can hold it still."""

from __future__ import annotations

from typing import Protocol

import anyio


class Clock(Protocol):
    """A monotonic clock, in seconds, and a way to wait by it."""

    def now(self) -> float:
        """Return the time."""

    async def wait(self, event: anyio.Event, until: float) -> None:
        """Return when the event is set or the time has come, whichever is first."""


class LoopClock:
    """The clock of the event loop: also trio's ``MockClock``, when that one runs the loop."""

    __slots__ = ()

    def now(self) -> float:
        return anyio.current_time()

    async def wait(self, event: anyio.Event, until: float) -> None:
        with anyio.CancelScope(deadline=until):
            await event.wait()
