"""When requests arrive in an open loop, in seconds from the beginning. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator


def constant(rate: float) -> Iterator[float]:
    """Yield arrivals that are ``1 / rate`` seconds apart, the first one at 0, without an end."""
    number = 0
    while True:
        yield number / rate
        number += 1


def gamma(rate: float, cv: float, chance: random.Random) -> Iterator[float]:
    """Yield arrivals whose gaps are Gamma-distributed, the first one after a gap, without an end.

    Args:
        rate: Arrivals per second on average.
        cv: The coefficient of variation of the gaps, above 0: 1 is a Poisson process, more is burstier.
        chance: Where the gaps are drawn from.
    """
    shape = 1 / cv**2
    scale = 1 / (rate * shape)
    at = 0.0
    while True:
        at += chance.gammavariate(shape, scale)
        yield at


def poisson(rate: float, chance: random.Random) -> Iterator[float]:
    """Yield the arrivals of a Poisson process, without an end."""
    at = 0.0
    while True:
        at += chance.expovariate(rate)
        yield at
