"""The order of measurements: A B C A B C, so that a machine that slows down slows down everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import field, frozen

S = TypeVar("S")

Figures = Mapping[str, float]
"""What one run of one subject measured, by the name of the measure."""


def interleave(subjects: Sequence[S], rounds: int, *, rotate: bool = False) -> Iterator[tuple[int, S]]:
    """Yield ``(round, subject)``, each round going through all subjects in their order.

    Args:
        rotate: Each round begins with the next subject, so that none always follows the same other.
    """
    for each in range(rounds):
        first = each % len(subjects) if rotate and subjects else 0
        for subject in (*subjects[first:], *subjects[:first]):
            yield each, subject


@frozen
class Collected:
    """What all rounds together measured.

    Attributes:
        values: By subject and measure, one value per round in which it was measured.
        errors: By subject, the sentences of the runs that failed.
        used: By subject, the processor seconds of all its runs, and the most bytes of memory of one.
    """

    values: dict[str, dict[str, list[float]]] = field(factory=dict)
    errors: dict[str, list[str]] = field(factory=dict)
    used: dict[str, tuple[float, int]] = field(factory=dict)

    def add(self, subject: str, figures: Figures) -> None:
        """Note what one run of a subject measured."""
        mine = self.values.setdefault(subject, {})
        for measure, value in figures.items():
            mine.setdefault(measure, []).append(value)

    def use(self, subject: str, cpu_seconds: float, peak_bytes: int) -> None:
        """Note what the processes of one run of a subject used."""
        seconds, most = self.used.get(subject, (0.0, 0))
        self.used[subject] = seconds + cpu_seconds, max(most, peak_bytes)

    def fail(self, subject: str, sentence: str) -> None:
        """Note that a run of a subject came to nothing; the same sentence is kept once."""
        mine = self.errors.setdefault(subject, [])
        if sentence not in mine:
            mine.append(sentence)


def collect(
    subjects: Iterable[str],
    rounds: int,
    measure: Callable[[str], Figures],
    *,
    expected: type[Exception],
    into: Collected | None = None,
    progress: Callable[[int, str], None] = lambda _round, _subject: None,
    rotate: bool = False,
    rounds_of: Callable[[str], int] | None = None,
) -> Collected:
    """Measure every subject in every round, interleaved.

    A subject whose run raises ``expected`` is not run again; the others go on.

    Args:
        measure: Runs one subject once.
        expected: What ``measure`` raises for a subject that cannot be measured.
        into: What to add to.
        progress: Told of each run before it begins.
        rotate: See ``interleave``.
        rounds_of: In how many of the first rounds a subject takes part, if not in all.
    """
    collected = Collected() if into is None else into
    failed: set[str] = set()
    for each, subject in interleave(list(subjects), rounds, rotate=rotate):
        if subject in failed or (rounds_of is not None and each >= rounds_of(subject)):
            continue
        progress(each, subject)
        try:
            collected.add(subject, measure(subject))
        except expected as error:
            failed.add(subject)
            collected.fail(subject, str(error))
    return collected
