"""How long to wait before what has failed is started again: doubling, capped, with jitter. Pure."""

from __future__ import annotations

FIRST_DELAY = 1.0
"""Seconds before the first retry; each further retry waits twice as long."""

LONGEST_DELAY = 60.0
"""The most seconds before a retry."""

JITTER = 0.25
"""The part, 0 to 1, by which a random choice may shorten a delay."""


def retry_delay(delays: int, chance: float) -> float:
    """Return how many seconds to wait before a retry.

    Args:
        delays: How many retries were waited for since failures were last forgotten.
        chance: A random number from 0 to 1, for the jitter.
    """
    bound = LONGEST_DELAY if delays > 16 else min(LONGEST_DELAY, FIRST_DELAY * 2.0**delays)
    return bound * (1.0 - JITTER * chance)
