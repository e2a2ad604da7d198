"""Several measurements of one thing, summed up: the median, and how far they lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from attrs import field, frozen

DIGITS = 4
"""Significant digits of a figure in a result file."""

NOISE: Final = 0.10
"""A difference by less than this share is not called one, and ratios that are further apart do not agree."""


@frozen
class Spread:
    """Measurements of one thing.

    Attributes:
        median: The middle one; between the middle two where their number is even.
        low: The smallest.
        high: The largest.
        count: How many there were.
        values: They themselves, in the order of the rounds; empty where only their summary was kept.
    """

    median: float
    low: float
    high: float
    count: int
    values: tuple[float, ...] = field(default=(), eq=False)

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up measurements.

        Raises:
            ValueError: There are none.
        """
        if not values:
            raise ValueError("no measurements: their spread is not defined")
        return cls(median(values), min(values), max(values), len(values), tuple(values))

    @property
    def relative(self) -> float:
        """The distance between the extremes, in medians; 0 where the median is."""
        return (self.high - self.low) / self.median if self.median else 0.0

    def overlaps(self, other: Spread) -> bool:
        """Return whether some measurement of each lies within the extremes of the other."""
        return self.low <= other.high and other.low <= self.high

    def halves(self) -> tuple[float, float] | None:
        """Return the medians of the rounds 1, 3, 5 … and of 2, 4, 6 …; None of one round or unknown ones."""
        if len(self.values) < 2:
            return None
        return median(self.values[::2]), median(self.values[1::2])

    def to_json(self) -> list[float] | dict[str, float]:
        """Return what a result file says of it: the measurements, or their summary where they are unknown."""
        if self.values:
            return [rounded(value) for value in self.values]
        return {"median": self.median, "low": self.low, "high": self.high, "count": self.count}

    @classmethod
    def from_json(cls, raw: list[float] | dict[str, float]) -> Spread:
        """Read what a result file says of it."""
        if isinstance(raw, list):
            return cls.of([float(value) for value in raw])
        return cls(float(raw["median"]), float(raw["low"]), float(raw["high"]), int(raw["count"]))


def agree(one: float, other: float, noise: float = NOISE) -> bool:
    """Return whether two ratios are within a share of each other."""
    return one == other or max(one, other) < (1 + noise) * min(one, other)


def rounded(value: float) -> float:
    """Return a figure with as many digits as a result file keeps of it."""
    return float(f"{value:.{DIGITS}g}")


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
