"""Several measurements of one thing, summed up: the median, and how far they lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from attrs import frozen


@frozen
class Spread:
    """Measurements of one thing, in no order.

    Attributes:
        median: The middle one; between the middle two where their number is even.
        low: The smallest.
        high: The largest.
        count: How many there were.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up measurements.

        Raises:
            ValueError: There are none.
        """
        if not values:
            raise ValueError("no measurements: their spread is not defined")
        return cls(median(values), min(values), max(values), len(values))

    @property
    def relative(self) -> float:
        """The distance between the extremes, in medians; 0 where the median is."""
        return (self.high - self.low) / self.median if self.median else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of all values do not exceed (nearest rank).

    Raises:
        ValueError: There are no values, or the share is none.
    """
    if not values:
        raise ValueError("no values: they have no percentile")
    if not 0 <= share <= 1:
        raise ValueError(f"a percentile's share lies between 0 and 1, not {share}")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
