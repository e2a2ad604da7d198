"""The figures as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from attrs import asdict
from rich.table import Table

from bench.harness.measures import number
from bench.harness.report import targets_table
from bench.harness.results import Results
from bench.harness.tables import table

from .contenders import OURS, Contender
from .outcome import Outcome
from .policies import OTHERS, REFERENCE
from .sweep import Row
from .wins import verdicts

LEFT_OVER = ("room", "workload", "policy", "setting", "unanswered")
FEW = 3
FIGURES = ("gpu_seconds", "wait_p50_s", "wait_p99_s", "cold_rate", "switches")


def label(contender: Contender) -> str:
    """Return the name of a contender among the subjects of a result."""
    return f"{OURS}, {contender.setting}" if contender.policy == OURS else contender.policy


def to_json(row: Row) -> dict[str, Any]:
    """Return a row as it stands in a result file; what was not answered stands beside the rows there."""
    figures = asdict(row.outcome)
    return {**_named(row), **{name: figures[name] for name in FIGURES}}


def left_over(row: Row) -> dict[str, Any]:
    """Return how many requests of a row were not answered, as that stands in a result file."""
    return {**_named(row), "unanswered": row.outcome.unanswered}


def from_json(row: dict[str, Any]) -> Row:
    """Return a row of a result file."""
    figures = {name: row[name] for name in FIGURES}
    return Row(row["workload"], Contender(row["policy"], row["setting"]), Outcome(**figures))


def tables(results: Results) -> list[Table]:
    """Return every row of the room that counts, their medians, and what was won."""
    return [every(results), medians_table(results), *_outcomes(results)]


def page_tables(results: Results) -> list[Table]:
    """Return every row of few workloads, the medians over many, and what was won."""
    figures = every if few(results) else medians_table
    return [figures(results), *_outcomes(results)]


def few(results: Results) -> bool:
    """Return whether so few workloads were played that each is worth telling by itself."""
    return len({row["workload"] for row in results.more["rows"]}) <= FEW


def _outcomes(results: Results) -> list[Table]:
    """Return what was won in each room, what was wanted, and what was not answered."""
    more = results.more
    rooms = {str(more["room"]): more["rows"], **more["rooms"]}
    unanswered = [[str(each[name]) for name in LEFT_OVER] for each in more["unanswered"]]
    shown = [
        *(
            won(f"room for {share} % of the peak", [from_json(each) for each in rows])
            for share, rows in rooms.items()
        ),
        targets_table(results),
        table("requests that were not answered", LEFT_OVER, unanswered),
    ]
    return [each for each in shown if each.row_count]


def medians_table(results: Results) -> Table:
    """Return a row for each contender: medians over the workloads."""
    rows = [from_json(each) for each in results.more["rows"]]
    first = {row.workload: row for row in reversed(rows)}
    shares: dict[str, list[float]] = {}
    for row in rows:
        base = first[row.workload].outcome.gpu_seconds
        shares.setdefault(label(row.contender), []).append(row.outcome.gpu_seconds / base if base else 1.0)
    lines = [
        (
            f"{name} *" if name == results.basis else name,
            number(median(shares[name])),
            *(number(figures[each]) for each in FIGURES[1:]),
        )
        for name, figures in results.medians().items()
    ]
    title = f"medians over {results.conditions['workloads']} workloads"
    columns = ("policy (*: ours at its default)", f"GPU-seconds / {rows[0].contender.policy}'s", *FIGURES[1:])
    return table(title, columns, lines)


def won(title: str, rows: Sequence[Row]) -> Table:
    """Return a table of how ours stands to each other policy."""
    found = verdicts(rows)
    count = sum(each.won for each in found)
    lines = []
    for name in OTHERS:
        beaten = sum(name not in each.unbeaten for each in found)
        halved = str(sum(name in each.halved for each in found)) if name in REFERENCE else ""
        lines.append((name, str(beaten), halved))
    return table(
        f"{title}: {count} of {len(found)} workloads won",
        ("policy", "no better than ours", "ours has half its p99 wait"),
        lines,
    )


def every(results: Results) -> Table:
    """Return a table of all rows of the room that counts; ours at its default has a star."""
    lines = []
    for row in map(from_json, results.more["rows"]):
        contender, figures = row.contender, asdict(row.outcome)
        star = " *" if contender.policy == OURS and contender.default else ""
        cells = [number(figures[name]) for name in FIGURES]
        lines.append((row.workload, contender.policy, contender.setting + star, *cells))
    title = f"room for {results.more['room']} % of the peak"
    return table(title, ("workload", "policy", "setting", *FIGURES), lines, texts=3)


def _named(row: Row) -> dict[str, str]:
    return {"workload": row.workload, "policy": row.contender.policy, "setting": row.contender.setting}
