"""One queue and one task for every deadline of a system: asks, timers, back-offs, budgets."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush

import anyio
from anyio.lowlevel import checkpoint

from .clock import Clock

TOLERATED = 64
"""Cancelled entries up to which the heap is never rebuilt."""

BURST = 256
"""Entries fired before other tasks get their turn."""


class Deadline:
    """Something to be done at a time; subclasses say what. Cancelled by ``Deadlines.cancel``."""

    __slots__ = ("armed",)

    def __init__(self) -> None:
        self.armed = False

    def fire(self) -> None:
        """Do what is due. Called at most once per ``add``, in the loop's thread; must not block or raise."""
        raise NotImplementedError


class Deadlines:
    """A heap with lazy deletion: cancelling marks an entry, and with more than half marked it is rebuilt."""

    __slots__ = ("_cancelled", "_clock", "_heap", "_sequence", "_until", "_wake")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Deadline]] = []
        self._sequence = 0
        self._cancelled = 0
        self._until = math.inf
        self._wake: anyio.Event | None = None

    def __len__(self) -> int:
        """Return how many deadlines are armed."""
        return len(self._heap) - self._cancelled

    def add(self, deadline: Deadline, delay: float) -> float:
        """Arm a deadline that is not armed, ``delay`` seconds from now, and return its time."""
        when = self._clock.now() + delay
        deadline.armed = True
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, deadline))
        if when < self._until and self._wake is not None:
            self._until = when
            self._wake.set()
        return when

    def cancel(self, deadline: Deadline) -> None:
        """Disarm a deadline; nothing if it is not armed. It cannot be armed again: make a new one."""
        if not deadline.armed:
            return
        deadline.armed = False
        self._cancelled += 1
        if self._cancelled > TOLERATED and self._cancelled * 2 > len(self._heap):
            self._heap = [each for each in self._heap if each[2].armed]
            heapify(self._heap)
            self._cancelled = 0

    async def run(self) -> None:
        """Fire deadlines as they come due, until cancelled. To be run by one task."""
        while True:
            await self._fire(self._clock.now())
            self._until = self._heap[0][0] if self._heap else math.inf
            self._wake = anyio.Event()
            await self._clock.wait(self._wake, self._until)

    async def _fire(self, now: float) -> None:
        fired = 0
        while self._heap and self._heap[0][0] <= now:
            deadline = heappop(self._heap)[2]
            if not deadline.armed:
                self._cancelled -= 1
                continue
            deadline.armed = False
            deadline.fire()
            fired += 1
            if fired % BURST == 0:
                await checkpoint()
