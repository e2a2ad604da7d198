"""Two result files side by side: what got better, what got worse, and what is only noise."""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import frozen

from .measures import Measure
from .results import BadResults, figures_of, measures_of

NOISE = 0.10
"""A change by less than this share is not called one, unless the caller knows its machine better."""


class Verdict(Enum):
    """What a change means."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"


@frozen
class Change:
    """One figure, before and after.

    Attributes:
        gain: How many times better it became: over 1 is good, whatever the unit; None if that says nothing.
    """

    subject: str
    measure: Measure
    before: float
    after: float
    gain: float | None
    verdict: Verdict


def compare(before: dict[str, Any], after: dict[str, Any], *, noise: float = NOISE) -> list[Change]:
    """Return the change of each figure that both files have, in the order of the later one.

    Raises:
        BadResults: They are of different benchmarks, or of one without measures (as cold_start).
    """
    if before["benchmark"] != after["benchmark"]:
        raise BadResults(
            f"one file is of the benchmark {before['benchmark']!r}, the other of {after['benchmark']!r}"
        )
    if not all("measures" in each for each in (before, after)):
        raise BadResults(
            f"files of the benchmark {after['benchmark']!r} cannot be compared: show.py shows each"
        )
    known = {(subject, name): value for subject, name, value in figures_of(before)}
    measures = measures_of(after)
    changes = []
    for subject, name, value in figures_of(after):
        old = known.get((subject, name))
        if old is not None:
            gain = measures[name].gain(value, old)
            changes.append(Change(subject, measures[name], old, value, gain, judge(gain, noise)))
    return changes


def judge(gain: float | None, noise: float) -> Verdict:
    """Say what a gain means, when less than ``noise`` (a share) either way means nothing."""
    if gain is None or 1 / (1 + noise) < gain < 1 + noise:
        return Verdict.SAME
    return Verdict.BETTER if gain > 1 else Verdict.WORSE


def other_machine(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """Return a warning when the two files are not of the same machine and Python, else None."""
    keys = ("model", "cores", "kernel", "python")
    differing = [
        f"{key} {before['machine'].get(key)} against {after['machine'].get(key)}"
        for key in keys
        if before["machine"].get(key) != after["machine"].get(key)
    ]
    return f"not the same machine: {'; '.join(differing)}" if differing else None
