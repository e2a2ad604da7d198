"""Decides from its answers whether a process still runs its loop."""

from __future__ import annotations

INTERVAL = 1.0
"""Seconds between two questions."""

FIRST_PATIENCE = 120.0
"""Seconds that a process has at least for its first answer: it may have to read its code from a slow disk."""


class Liveness:
    """Counts for how long a process has been silent.

    Only time that the asking side itself has lived through counts: while a machine sleeps, or both processes
    are paused, none passes. So each look counts for at most two intervals, however late it comes.

    Args:
        patience: Seconds of silence after which the process is taken for dead. Until its first answer it has
            ``FIRST_PATIENCE``, where that is more.

    Attributes:
        silence: Seconds since the last answer, so far as they count.
    """

    def __init__(self, patience: float) -> None:
        self.silence = 0.0
        self._patience = patience
        self._limit = max(patience, FIRST_PATIENCE)

    def answered(self) -> None:
        """Take note of an answer."""
        self.silence = 0.0
        self._limit = self._patience

    def passed(self, seconds: float) -> bool:
        """Take note that so much time has passed since the last look; return whether the process is dead."""
        self.silence += min(seconds, 2 * INTERVAL)
        return self.silence >= self._limit
