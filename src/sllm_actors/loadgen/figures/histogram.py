"""Durations in an HDR histogram: fixed memory, three digits, from a microsecond to a day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hdrh.histogram import HdrHistogram

DIGITS: Final = 3
LONGEST: Final = 86_400_000_000
"""Microseconds: what took longer counts as this."""

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


class Durations:
    """A distribution of durations in seconds."""

    __slots__ = ("_hdr", "_sum", "count")

    def __init__(self) -> None:
        self._hdr: Any = HdrHistogram(1, LONGEST, DIGITS)
        self._sum = 0.0
        self.count = 0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        self._sum += seconds
        self._hdr.record_value(min(max(0, round(seconds * 1e6)), LONGEST))

    def percentile(self, percent: float) -> float:
        """Return the duration that so many percent do not exceed, in seconds."""
        return float(self._hdr.get_value_at_percentile(percent)) / 1e6

    @property
    def mean(self) -> float:
        """The mean in seconds; there must be a duration."""
        return self._sum / self.count

    @property
    def most(self) -> float:
        """The longest in seconds; there must be a duration."""
        return float(self._hdr.get_max_value()) / 1e6

    def encoded(self) -> str:
        """Return all of it as HDR histograms are exchanged: V2, compressed, in base64."""
        text: bytes = self._hdr.encode()
        return text.decode()

    def curve(self, percents: Sequence[float]) -> list[tuple[float, float]]:
        """Return points of the distribution: percent, and seconds."""
        return [(each, self.percentile(each)) for each in percents]

    def summary(self) -> dict[str, float]:
        """Return the figures in milliseconds that results show; nothing where there is no duration."""
        if not self.count:
            return {}
        figures = {f"p{each:g}": self.percentile(each) * 1000 for each in PERCENTILES}
        return {"count": self.count, "mean": self.mean * 1000, **figures, "max": self.most * 1000}
