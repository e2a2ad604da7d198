"""The events of a simulated network, in time order: one heap and one task, on the event loop's clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

import anyio


class Agenda:
    """Events in the order of their times, and of their making where those are the same."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0
        self._until = math.inf
        self._wake: anyio.Event | None = None

    def __len__(self) -> int:
        """Return how many events are still to come."""
        return len(self._heap)

    def now(self) -> float:
        """Return the loop's time, in seconds."""
        return anyio.current_time()

    def after(self, delay: float, event: Callable[[], None]) -> float:
        """Have ``event`` called in ``delay`` seconds, and return at what time. It must not raise."""
        when = self.now() + max(0.0, delay)
        self._made += 1
        heappush(self._heap, (when, self._made, event))
        if when < self._until and self._wake is not None:
            self._until = when
            self._wake.set()
        return when

    async def run(self) -> None:
        """Call the events as they come due, until cancelled. To be run by one task."""
        while True:
            now = self.now()
            while self._heap and self._heap[0][0] <= now:
                heappop(self._heap)[2]()
            self._until = self._heap[0][0] if self._heap else math.inf
            self._wake = anyio.Event()
            with anyio.CancelScope(deadline=self._until):
                await self._wake.wait()
