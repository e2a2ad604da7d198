"""What is wanted of a figure, and whether it is so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict, evolve, field, frozen

from .measures import number
from .spread import agree, rounded

WORDS = {True: "met", False: "missed", None: "not measured"}


def _pair(both: Sequence[float] | None) -> tuple[float, float] | None:
    return None if both is None else (both[0], both[1])


@frozen
class Judged:
    """A target and what was measured.

    Attributes:
        target: What is wanted, in words.
        found: The figure that it is about; None where something was not measured.
        met: None likewise, and where two halves of the run disagree on a ratio.
        compares: Whether the figure is a ratio of two that were measured in turns.
        halves: That ratio by every other round, and by the rounds between; None where there are no two.
    """

    target: str
    found: float | None
    met: bool | None
    compares: bool = False
    halves: tuple[float, float] | None = field(default=None, converter=_pair)

    @property
    def word(self) -> str:
        """Whether it is met, in a word or two, and what speaks against that."""
        if self.found is None or not self.compares:
            return WORDS[self.met]
        if self.halves is None:
            return f"{WORDS[self.met]}, by one round alone"
        if self.met is None:
            low, high = (number(each) for each in sorted(self.halves))
            return f"no winner: {low} and {high} by the halves of the run"
        return WORDS[self.met]

    def to_json(self) -> dict[str, Any]:
        """Return what a result file says of it."""
        said = {**asdict(self), "found": None if self.found is None else rounded(self.found)}
        if not self.compares:
            return {name: said[name] for name in ("target", "found", "met")}
        return {**said, "halves": self.halves and [rounded(each) for each in self.halves]}


def at_most(target: str, found: float | None, bound: float, *, compares: bool = False) -> Judged:
    """Judge a figure that is to be no more than a bound."""
    return Judged(target, found, None if found is None else found <= bound, compares)


def at_least(target: str, found: float | None, bound: float, *, compares: bool = False) -> Judged:
    """Judge a figure that is to be no less than a bound."""
    return Judged(target, found, None if found is None else found >= bound, compares)


def confirmed(judged: Judged, odd: Sequence[Judged], even: Sequence[Judged]) -> Judged:
    """Hold a ratio of all rounds against those of every other round, and of the rounds between.

    Where those two are further apart than noise, it is not decided whether the target is met.
    """
    first, second = ({each.target: each.found for each in half}.get(judged.target) for half in (odd, even))
    if not judged.compares or first is None or second is None:
        return judged
    steady = agree(first, second)
    return evolve(judged, halves=(first, second), met=judged.met if steady else None)


def quotient(one: float | None, other: float | None) -> float | None:
    """Return one figure over another; None where one is unknown or the other is nothing."""
    return None if one is None or not other else one / other
