"""What is wanted of a figure, and whether it is so."""

from __future__ import annotations

from typing import Any

from attrs import asdict, frozen

from .spread import rounded

WORDS = {True: "met", False: "missed", None: "not measured"}


@frozen
class Judged:
    """A target and what was measured.

    Attributes:
        target: What is wanted, in words.
        found: The figure that it is about; None where something was not measured.
        met: None likewise.
    """

    target: str
    found: float | None
    met: bool | None

    @property
    def word(self) -> str:
        """Whether it is met, in a word or two."""
        return WORDS[self.met]

    def to_json(self) -> dict[str, Any]:
        """Return what a result file says of it."""
        return {**asdict(self), "found": None if self.found is None else rounded(self.found)}


def at_most(target: str, found: float | None, bound: float) -> Judged:
    """Judge a figure that is to be no more than a bound."""
    return Judged(target, found, None if found is None else found <= bound)


def at_least(target: str, found: float | None, bound: float) -> Judged:
    """Judge a figure that is to be no less than a bound."""
    return Judged(target, found, None if found is None else found >= bound)


def quotient(one: float | None, other: float | None) -> float | None:
    """Return one figure over another; None where one is unknown or the other is nothing."""
    return None if one is None or not other else one / other
