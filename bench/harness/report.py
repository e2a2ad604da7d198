"""The results of any benchmark as tables: its figures, what was wanted of them, what was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from .comparison import Change, Ratio, RatioChange, Verdict, ratio
from .measures import NOTHING, Measure, number
from .results import Results
from .spread import Spread
from .tables import table

MARKS = {Verdict.SAME: " =", Verdict.UNSTEADY: " ?", Verdict.UNCONFIRMED: " ?"}
"""Behind a ratio that names no winner."""

LEGEND = (
    "`=`: no difference that the spread allows; `?`: no winner, because two halves of the run disagree by "
    "more than 10 % (then both ratios are shown), or because one round alone was kept"
)


def figures_table(
    results: Results,
    title: str = "",
    *,
    names: Iterable[str] | None = None,
    subjects: Sequence[str] | None = None,
    text: bool = False,
) -> Table:
    """Return a row for each measure and a column for each subject: the median, and half the distance of the
    extremes. In brackets: how many times better the basis is than that subject, if it is the better one.

    Args:
        title: Of the table; by default it says how many rounds there were.
        names: Only these measures, as far as somebody has them; by default all that somebody has.
        subjects: Only these subjects; by default all.
        text: Name measures by what they are, not by their keys.
    """
    shown = {name: results.subjects[name] for name in subjects or results.subjects}
    basis = results.subjects.get(results.basis)
    rows = []
    for name in results.measures if names is None else names:
        measure = results.measures.get(name)
        if measure is None or not any(name in subject.figures for subject in shown.values()):
            continue
        ours = None if basis is None else basis.figures.get(name)
        cells = [
            _cell(measure, subject.figures.get(name), None if each == results.basis or subject.ours else ours)
            for each, subject in shown.items()
        ]
        rows.append([measure.text if text else name, measure.unit, *cells])
    compared = any(not shown[name].ours for name in shown if name != results.basis) and basis is not None
    if not title:
        rounds = results.conditions.get("rounds", 1)
        spread = f"medians of {rounds} rounds (± half the distance of the extremes)"
        title = "one round" if rounds == 1 else spread
    if compared:
        title += f"; in brackets: how many times better {results.basis} is; {LEGEND}"
    return table(title, ("measure", "unit", *shown), rows, texts=2)


def targets_table(results: Results, title: str = "targets") -> Table:
    """Return what is wanted, and whether it is so."""
    rows = [(each.target, number(each.found), each.word) for each in results.targets]
    return table(title, ("target", "found", ""), rows)


def usage_table(results: Results) -> Table:
    """Return what the processes of each subject used, as far as it is known."""
    rows = [
        (name, number(each.cpu_s or None), number(each.peak_mib or None))
        for name, each in results.subjects.items()
        if each.cpu_s or each.peak_mib
    ]
    return table(
        "what all processes of a subject used",
        ("subject", "processor seconds", "most memory, MiB"),
        rows,
    )


def errors_table(results: Results) -> Table:
    """Return why something was not measured."""
    rows = [(name, sentence) for name, sentences in results.errors.items() for sentence in sentences]
    return table("not measured", ("subject", "why"), rows, texts=2)


def standard_tables(results: Results) -> list[Table]:
    """Return all of these that have something to say."""
    found = [figures_table(results), targets_table(results), usage_table(results), errors_table(results)]
    return [each for each in found if each.row_count]


def comparison_table(changes: Iterable[Change]) -> Table:
    """Return the table of a comparison; ``gain`` is over 1 where the later file is better."""
    return table(
        "before and after",
        ("subject", "measure", "before", "after", "unit", "gain", ""),
        (
            (
                change.subject,
                change.measure.name,
                with_spread(change.before),
                with_spread(change.after),
                change.measure.unit,
                NOTHING if change.gain is None else f"{change.gain:.2f}",
                change.word,
            )
            for change in changes
        ),
        texts=2,
    )


def disagreement(changes: Sequence[RatioChange], basis: str) -> list[str]:
    """Return sentences about ratios that differ by more than 10 % between two runs: no winner there."""
    differing = [each for each in changes if not each.agree]
    if not differing:
        return [f"all {len(changes)} ratios of {basis} to others agree within 10 %"] if changes else []
    sentences = [
        f"{each.subject}, {each.measure.name}: {each.before:.2f} against {each.after:.2f}"
        for each in differing
    ]
    head = (
        f"of {len(changes)} ratios of {basis} to others, {len(differing)} differ by more than 10 % between "
        "the two runs, so no winner is named there:"
    )
    return [head, *(f"  {sentence}" for sentence in sentences)]


def with_spread(spread: Spread) -> str:
    """Return a figure with half the distance of its extremes, as a share of it."""
    if spread.low == spread.high or not spread.median:
        return number(spread.median)
    return f"{number(spread.median)} ±{spread.relative / 2:.0%}"


def with_ratio(found: Ratio) -> str:
    """Return a ratio with the mark that says whether it names a winner; nothing where it says nothing."""
    if found.gain is None:
        return ""
    if found.verdict is Verdict.UNSTEADY and found.halves is not None:
        low, high = sorted(found.halves)
        return f" ({number(low, 2)} to {number(high, 2)}{MARKS[found.verdict]})"
    return f" ({number(found.gain, 3)}{MARKS.get(found.verdict, '')})"


def _cell(measure: Measure, theirs: Spread | None, ours: Spread | None) -> str:
    if theirs is None:
        return NOTHING
    if ours is None:
        return with_spread(theirs)
    return with_spread(theirs) + with_ratio(ratio(measure, ours, theirs))
