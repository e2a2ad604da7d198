"""A circuit breaker: keeps requests from a replica that breaks again and again, and tries it later. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

FAILURES: Final = 5
"""So many failures in a row open a circuit."""

SHARE: Final = 0.5
"""So does this share of failures, among at least ``ENOUGH`` requests of one ``WINDOW``."""

ENOUGH: Final = 20
WINDOW: Final = 10.0
"""Seconds in which requests are counted together."""

PAUSE: Final = 5.0
"""Seconds that a circuit is open for the first time; each time that follows soon, twice as long."""

MOST_PAUSE: Final = 60.0
"""Seconds that a circuit is open at most; it has begun anew when it was closed for as long."""


class CircuitState(Enum):
    """``CLOSED``: requests go through; ``OPEN``: none does; ``HALF_OPEN``: one at a time does, as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


CLOSED: Final = CircuitState.CLOSED
"""Asked for at each request: Python 3.11 finds a member of an enumeration only by calls."""


class Circuit:
    """The circuit breaker of one replica. Times are in seconds by one monotonic clock.

    Attributes:
        state: Whether requests go through.
        until: When an open circuit becomes half open.
    """

    def __init__(self) -> None:
        self.state = CircuitState.CLOSED
        self.until = 0.0
        self._in_a_row = 0
        self._served = 0
        self._broke = 0
        self._window_ends = 0.0
        self._pause = 0.0
        self._closed_at = 0.0

    def served(self, now: float) -> None:
        """Take note of a request that was served."""
        self._in_a_row = 0
        if now >= self._window_ends:
            self._begin_window(now)
        self._served += 1

    def broke(self, now: float) -> bool:
        """Take note of a request that broke; return whether the circuit should be opened."""
        if now >= self._window_ends:
            self._begin_window(now)
        self._in_a_row += 1
        self._broke += 1
        total = self._served + self._broke
        return self._in_a_row >= FAILURES or (total >= ENOUGH and self._broke >= SHARE * total)

    def open(self, now: float) -> None:
        """Let no request through until ``until``."""
        if now - self._closed_at >= MOST_PAUSE and self.state is CircuitState.CLOSED:
            self._pause = 0.0
        self._pause = min(2 * self._pause or PAUSE, MOST_PAUSE)
        self.state, self.until = CircuitState.OPEN, now + self._pause

    def half_open(self) -> None:
        """Let one request at a time through: what becomes of it decides."""
        self.state = CircuitState.HALF_OPEN

    def close(self, now: float) -> None:
        """Let requests through as before."""
        self.state, self._closed_at = CircuitState.CLOSED, now
        self._in_a_row = 0
        self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._served = self._broke = 0
        self._window_ends = now + WINDOW
