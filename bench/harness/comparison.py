"""What differs, and what only seems to: two result files side by side, and the subjects within one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from attrs import frozen

from .measures import Measure
from .results import BadResults, Results, Subject
from .spread import NOISE, Spread, agree
from .targets import Judged, confirmed

Judge = Callable[[Mapping[str, Mapping[str, float]]], Sequence[Judged]]
"""Holds the medians of all subjects against what is wanted of them."""

HARDWARE: Final = ("model", "cores", "memory_gib", "system")
SOFTWARE: Final = ("kernel", "python")
"""Facts of a machine: where one of the first differs it is another machine."""


class Verdict(Enum):
    """What a difference means."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference that the spread allows"
    UNSTEADY = "no winner: the two halves of the run disagree"
    UNCONFIRMED = "no winner: one round alone, or rounds that were not kept"


@frozen
class Change:
    """One figure, before and after.

    Attributes:
        gain: How many times better it became: over 1 is good, whatever the unit; None if that says nothing.
    """

    subject: str
    measure: Measure
    before: Spread
    after: Spread
    gain: float | None
    verdict: Verdict

    @property
    def word(self) -> str:
        """The verdict; of times and rates it is ``faster`` or ``slower``."""
        return self.measure.word(self.verdict.value)


@frozen
class RatioChange:
    """How many times better the basis is than another subject, by two runs.

    Attributes:
        agree: Whether the two ratios are within ``NOISE`` of each other.
    """

    subject: str
    measure: Measure
    before: float
    after: float
    agree: bool


@frozen
class Ratio:
    """How many times better one subject is than another in the same run.

    Attributes:
        gain: Over 1 where the first is better, whatever the unit; None if that says nothing.
        halves: The same by every other round, and by the rounds between; None where a subject has no two.
        verdict: Of the first; neither ``UNSTEADY`` nor ``UNCONFIRMED`` names a winner.
    """

    gain: float | None
    halves: tuple[float, float] | None
    verdict: Verdict


def compare(before: Results, after: Results, *, noise: float = NOISE) -> list[Change]:
    """Return the change of each figure that both files have, in the order of the later one.

    Raises:
        BadResults: They are of different benchmarks, or have no figure in common.
    """
    if before.benchmark != after.benchmark:
        raise BadResults(
            f"one file is of the benchmark {before.benchmark!r}, the other of {after.benchmark!r}"
        )
    changes = [
        Change(subject, measure, old, new, found.gain, found.verdict)
        for subject, measure, old, new in _common(before, after)
        for found in [ratio(measure, new, old, noise)]
    ]
    if not changes:
        raise BadResults(f"the two files of the benchmark {after.benchmark!r} have no figure in common")
    return changes


def ratio(measure: Measure, ours: Spread, theirs: Spread, noise: float = NOISE) -> Ratio:
    """Compare two subjects, or one before and after; two halves that give different ratios name no winner.

    A figure that is zero has no ratio to others (no errors against five), and yet is better or worse.
    """
    gain = measure.gain(ours.median, theirs.median)
    halves = _halves(measure, ours, theirs)
    if halves is not None and not agree(*halves, noise):
        return Ratio(gain, halves, Verdict.UNSTEADY)
    if ours.overlaps(theirs) or (gain is not None and agree(gain, 1.0, noise)):
        return Ratio(gain, halves, Verdict.SAME)
    if ours.halves() is None or theirs.halves() is None:
        return Ratio(gain, halves, Verdict.UNCONFIRMED)
    better = (ours.median > theirs.median) == measure.higher_is_better
    return Ratio(gain, halves, Verdict.BETTER if better else Verdict.WORSE)


def targets_of(judge: Judge, subjects: Mapping[str, Subject]) -> list[Judged]:
    """Judge the medians of all rounds; a ratio on which two halves of the run disagree decides nothing."""
    halves = {
        name: {each: both for each, figure in subject.figures.items() if (both := figure.halves())}
        for name, subject in subjects.items()
    }
    odd, even = (
        judge({name: {each: both[half] for each, both in found.items()} for name, found in halves.items()})
        for half in (0, 1)
    )
    whole = judge({name: subject.medians() for name, subject in subjects.items()})
    return [confirmed(each, odd, even) for each in whole]


def compare_ratios(before: Results, after: Results, *, noise: float = NOISE) -> list[RatioChange]:
    """Return what two runs say of how the basis stands to the other subjects; nothing where there is none."""
    changes = []
    for subject, measure, old, new in _common(before, after):
        first = _to_basis(before, after.basis, measure, old)
        second = _to_basis(after, after.basis, measure, new)
        if subject != after.basis and first is not None and second is not None:
            changes.append(RatioChange(subject, measure, first, second, agree(first, second, noise)))
    return changes


def other_machine(before: Results, after: Results) -> str | None:
    """Return in what the machines of two files differ, or None where they are of one."""
    return _differing(before, after, HARDWARE)


def other_software(before: Results, after: Results) -> str | None:
    """Return in what kernel and Python of two files differ, or None where they are the same."""
    return _differing(before, after, SOFTWARE)


def _differing(before: Results, after: Results, keys: tuple[str, ...]) -> str | None:
    found = [
        f"{key} {before.machine.get(key)} against {after.machine.get(key)}"
        for key in keys
        if before.machine.get(key) != after.machine.get(key)
    ]
    return "; ".join(found) or None


def _common(before: Results, after: Results) -> Iterator[tuple[str, Measure, Spread, Spread]]:
    for name, subject in after.subjects.items():
        known = before.subjects[name].figures if name in before.subjects else {}
        for measure in after.measures.values():
            if measure.name in known and measure.name in subject.figures:
                yield name, measure, known[measure.name], subject.figures[measure.name]


def _to_basis(results: Results, basis: str, measure: Measure, theirs: Spread) -> float | None:
    subject = results.subjects.get(basis)
    if subject is None or measure.name not in subject.figures:
        return None
    return measure.gain(subject.figures[measure.name].median, theirs.median)


def _halves(measure: Measure, ours: Spread, theirs: Spread) -> tuple[float, float] | None:
    mine, others = ours.halves(), theirs.halves()
    if mine is None or others is None:
        return None
    first, second = (measure.gain(*pair) for pair in zip(mine, others, strict=True))
    return None if first is None or second is None else (first, second)
