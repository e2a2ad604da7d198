"""Virtual time: what is to happen, in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Clock:
    """Things to do at times. Of those at one time, the one that was asked for first is first.

    Attributes:
        now: Seconds from the beginning.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Let something happen at a time, or now if that is past."""
        heapq.heappush(self._waiting, (max(when, self.now), next(self._numbers), do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen later."""
        self.at(self.now + seconds, do)

    def every(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen again and again, now first."""

        def again() -> None:
            do()
            self.after(seconds, again)

        self.at(self.now, again)

    @property
    def next(self) -> float | None:
        """When something happens next; None if nothing will."""
        return self._waiting[0][0] if self._waiting else None

    def step(self) -> None:
        """Do the next thing."""
        self.now, _, do = heapq.heappop(self._waiting)
        do()
