"""For how long an idle replica is worth keeping, learned from the pauses between requests so far. Pure.

The rule is that of "Serverless in the Wild" (USENIX ATC 2020): a histogram of the pauses, in minutes. A
replica is kept for as long as 99 of 100 pauses lasted. Where even the shortest ones are longer than a start
takes, it goes after ``GRACE``, and one is started again in time before the shortest ones end.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from attrs import define, field, frozen

BIN: Final = 60.0
"""Seconds of a bin of the histogram."""

BINS: Final = 240
"""How many bins there are: longer pauses are out of range."""

HALVED: Final = 86400.0
"""Seconds after which each pause counts for half: people's habits change."""

FEWEST: Final = 10
"""So many pauses must be known before anything is learned from them."""

MARGIN: Final = 0.1
"""By what part of itself a time is stretched to be on the safe side."""

LEAST_VARIATION: Final = 2.0
"""A histogram whose bins vary by less (standard deviation over mean) says nothing: all are as probable."""

GRACE: Final = 60.0
"""Seconds after the last request after which a replica goes of which the next use is known to be far away."""


@frozen
class Stay:
    """When a replica is there during a pause, in seconds from the end of the last request.

    Attributes:
        keep: It goes then; -1: never.
        back: One is there again from the first time to the second; None: not before the next request.
    """

    keep: float
    back: tuple[float, float] | None = None


@define(eq=False)
class Pauses:
    """The pauses between the requests of one deployment.

    Attributes:
        bins: How many there were of each length, in bins that have any.
        longer: How many were out of range.
        halved: When older ones counted for half last, on the clock of ``add``; None before the first.
        added: How many were added.
    """

    bins: dict[int, float] = field(factory=dict)
    longer: float = 0.0
    halved: float | None = None
    added: int = 0

    def add(self, seconds: float, now: float) -> None:
        """Add a pause that ended at ``now``, on a clock that does not go back."""
        self.added += 1
        if self.halved is None:
            self.halved = now
        elif (times := int((now - self.halved) // HALVED)) > 0:
            self.halved += times * HALVED
            self.longer /= 2**times
            self.bins = {each: half for each, count in self.bins.items() if (half := count / 2**times) > 0.01}
        if seconds >= BIN * BINS:
            self.longer += 1
        else:
            index = int(seconds // BIN)
            self.bins[index] = self.bins.get(index, 0.0) + 1

    def stay(self, longest: float, starts_in: float) -> Stay:
        """Return when a replica should be there during a pause.

        Args:
            longest: The longest that it is kept; -1: for as long as may be. While too little is known, or
                nothing can be told from it, it is kept so long.
            starts_in: Seconds that a start takes; 0 where that is not known.
        """
        within = sum(self.bins.values())
        if within + self.longer < FEWEST or self.longer > within or self._variation(within) < LEAST_VARIATION:
            return Stay(longest)
        last = (self._quantile(0.99, within) + 1) * BIN * (1 + MARGIN)
        keep = last if longest < 0 else min(last, longest)
        back = self._quantile(0.05, within) * BIN * (1 - MARGIN) - starts_in
        if starts_in <= 0 or back <= GRACE or keep <= GRACE:
            return Stay(keep)
        return Stay(GRACE, (back, keep) if back < keep else None)

    def _variation(self, within: float) -> float:
        mean = within / BINS
        squares = sum((count - mean) ** 2 for count in self.bins.values())
        squares += (BINS - len(self.bins)) * mean**2
        return sqrt(squares / BINS) / mean if mean else 0.0

    def _quantile(self, part: float, within: float) -> int:
        """Return the first bin up to which such a part of the pauses lies that are in range."""
        left, reached = part * within, 0
        for index in sorted(self.bins):
            if left > 1e-9:
                left, reached = left - self.bins[index], index
        return reached
