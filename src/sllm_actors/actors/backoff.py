"""How long to wait before a failed child is started again."""

from __future__ import annotations

import random
from typing import Final

from attrs import field, frozen, validators


@frozen
class Backoff:
    """Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015).

    The n-th consecutive restart waits a random time between 0 and ``min(cap, first * factor ** (n - 1))``
    seconds. Only healthy uptime ends a run of failures, never a start that merely succeeded.

    Attributes:
        first: Upper bound of the first delay in seconds; 0 restarts at once, always.
        cap: No delay is longer, in seconds.
        factor: By how much the bound grows with each failure.
        reset_after: A child that was up this long, in seconds, starts its next run of failures at one.
    """

    first: float = field(default=0.1, validator=validators.ge(0))
    cap: float = field(default=30.0, validator=validators.ge(0))
    factor: float = field(default=2.0, validator=validators.ge(1))
    reset_after: float = field(default=60.0, validator=validators.ge(0))

    def bound(self, failures: int) -> float:
        """Return the longest delay after that many consecutive failures (at least 1)."""
        if self.first <= 0:
            return 0.0
        try:
            return min(self.cap, self.first * self.factor ** (failures - 1))
        except OverflowError:
            return self.cap

    def delay(self, failures: int, rng: random.Random) -> float:
        """Draw the delay before the restart after that many consecutive failures (at least 1)."""
        return rng.uniform(0.0, self.bound(failures))


DEFAULT_BACKOFF: Final = Backoff()

AT_ONCE: Final = Backoff(first=0.0)
"""Restart without waiting: OTP's own behaviour."""
