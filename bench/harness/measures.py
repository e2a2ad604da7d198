"""What a figure is a figure of: its unit, and in which direction it is good."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

NOTHING: Final = "-"
"""Stands in a table for what was not measured."""

SPEEDS: Final = ("1/s", "MB/s", "ns", "µs", "ms", "s")
"""Units of what is fast or slow, rather than good or bad."""


@frozen
class Measure:
    """One thing that is measured.

    Attributes:
        name: Its key in the results.
        text: What it is, for a person.
        unit: ``1/s``, ``µs``, ``s``, ``bytes``.
        higher_is_better: Whether more of it is good.
    """

    name: str
    text: str
    unit: str
    higher_is_better: bool

    def gain(self, ours: float, theirs: float) -> float | None:
        """Return how many times better ``ours`` is than ``theirs``; None where that says nothing."""
        if ours <= 0 or theirs <= 0:
            return None
        return ours / theirs if self.higher_is_better else theirs / ours

    def word(self, verdict: str) -> str:
        """Return a verdict in the words that fit: what is measured in seconds gets faster, not better."""
        words = {"better": "faster", "worse": "slower"} if self.unit in SPEEDS else {}
        return words.get(verdict, verdict)

    def to_json(self) -> dict[str, Any]:
        """Return what a result file says about it."""
        return {"text": self.text, "unit": self.unit, "higher_is_better": self.higher_is_better}

    @classmethod
    def from_json(cls, name: str, raw: dict[str, Any]) -> Measure:
        """Read what a result file says about it."""
        return cls(name, str(raw["text"]), str(raw["unit"]), bool(raw["higher_is_better"]))


def rate(name: str, text: str) -> Measure:
    """Return a measure of how often something is done in a second."""
    return Measure(name, text, "1/s", higher_is_better=True)


def latency(name: str, text: str) -> Measure:
    """Return a measure of microseconds."""
    return Measure(name, text, "µs", higher_is_better=False)


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure as a person reads it: as many digits as mean something, thousands apart."""
    if value is None:
        return NOTHING
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
