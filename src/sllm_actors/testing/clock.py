"""A clock that moves only when a test says so."""

from __future__ import annotations

import anyio
import anyio.lowlevel

CHECKPOINTS = 32
"""Turns of the loop that others get first: on asyncio, waiting for a task that can run takes 0.1 s."""


class ManualClock:
    """For an ``ActorSystem``: its timers, deadlines, back-offs and budgets then wait for ``advance``."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._waiting: list[tuple[float, anyio.Event]] = []

    def now(self) -> float:
        """Return the time, in seconds."""
        return self._now

    async def wait(self, event: anyio.Event, until: float) -> None:
        """Return when the event is set or ``advance`` has reached the time."""
        if until <= self._now:
            return
        entry = (until, event)
        self._waiting.append(entry)
        try:
            await event.wait()
        finally:
            self._waiting.remove(entry)

    async def advance(self, seconds: float) -> None:
        """Move on, from one awaited time to the next, and let everything that this sets off come to rest.

        Not to be awaited while another task never waits for anything: it would wait for that task for ever.
        """
        until = self._now + seconds
        while True:
            for _ in range(CHECKPOINTS):
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            due = [when for when, _ in self._waiting if when <= until]
            if not due:
                break
            self._now = max(self._now, min(due))
            for when, event in self._waiting:
                if when <= self._now:
                    event.set()
        self._now = until
