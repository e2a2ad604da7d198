"""ServeGen's files, one for each client. Pure.

They have no header. A line stands for a window of 600 s: its start, the requests per second, their
coefficient of variation, the distribution of the gaps and its two parameters. There are no requests: the
times are drawn.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator

from attrs import frozen

from .row import WrongLine

WINDOW = 600.0
DISTRIBUTIONS = ("Gamma", "Weibull", "")
FIELDS = 6


@frozen
class RateWindow:
    """What one line says: from ``start`` on, so many requests per second, with such gaps between them."""

    start: float
    rate: float
    distribution: str
    shape: float
    scale: float

    @classmethod
    def parse(cls, line: str) -> RateWindow:
        """Read one line.

        Raises:
            WrongLine: It is none.
        """
        cells = line.strip().split(",")
        if len(cells) != FIELDS:
            raise WrongLine(f"it should have {FIELDS} fields, not {len(cells)}")
        try:
            start, rate, _, shape, scale = (float(each) for each in (*cells[:3], *cells[4:]))
        except ValueError:
            raise WrongLine("all fields but the fourth should be numbers") from None
        if cells[3] not in DISTRIBUTIONS:
            raise WrongLine(f"its distribution is {cells[3][:40]!r}, not Gamma or Weibull")
        if not all(math.isfinite(each) and each >= 0 for each in (start, rate, shape, scale)):
            raise WrongLine("a number is below 0, or none")
        return cls(start, rate, cells[3], shape, scale)

    def gap(self, chance: random.Random) -> float:
        """Return the seconds between two requests."""
        if self.shape <= 0 or self.scale <= 0 or not self.distribution:
            return chance.expovariate(self.rate)
        if self.distribution == "Gamma":
            return chance.gammavariate(self.shape, self.scale)
        return chance.weibullvariate(self.scale, self.shape)


def looks_like(line: str) -> bool:
    """Return whether a first line is one of ServeGen's."""
    cells = line.strip().split(",")
    return len(cells) == FIELDS and cells[0].replace(".", "", 1).isdigit()


def client_arrivals(windows: Iterable[RateWindow], chance: random.Random) -> Iterator[float]:
    """Yield when the requests of a client come; a gap that a window ends in goes on in the next one."""
    left = -1.0  # of the gap that has begun, as a share of a mean gap
    for window in windows:
        if window.rate <= 0:
            continue
        if left < 0:
            left = chance.random()
        at, until = window.start + left / window.rate, window.start + WINDOW
        while at < until:
            yield at
            at += window.gap(chance)
        left = (at - until) * window.rate
