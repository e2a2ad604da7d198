"""The figures as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict
from rich.table import Table

from bench.harness.measures import number
from bench.harness.tables import table

from .contenders import OURS, Contender
from .outcome import Outcome
from .policies import OTHERS, REFERENCE
from .sweep import Row
from .wins import verdicts

LEFT_OVER = ("room", "workload", "policy", "setting", "unanswered")
FIGURES = ("gpu_seconds", "wait_p50_s", "wait_p99_s", "cold_rate", "switches")


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


def tables(content: dict[str, Any]) -> list[Table]:
    """Return every row of the room that counts, what was won in each room, and what was not answered."""
    rooms = {str(content["room"]): content["rows"], **content["rooms"]}
    read = {share: [from_json(each) for each in rows] for share, rows in rooms.items()}
    first = every(f"room for {content['room']} % of the peak", read[str(content["room"])])
    found = [first, *(won(f"room for {share} % of the peak", rows) for share, rows in read.items())]
    unanswered = [[str(each[name]) for name in LEFT_OVER] for each in content["unanswered"]]
    return [*found, table("requests that were not answered", LEFT_OVER, unanswered)] if unanswered else found


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


def every(title: str, rows: Sequence[Row]) -> Table:
    """Return a table of all rows; ours at its default has a star."""
    lines = []
    for row in rows:
        contender, figures = row.contender, asdict(row.outcome)
        star = " *" if contender.policy == OURS and contender.default else ""
        cells = [number(figures[name]) for name in FIGURES]
        lines.append((row.workload, contender.policy, contender.setting + star, *cells))
    return table(title, ("workload", "policy", "setting", *FIGURES), lines, texts=3)


def _named(row: Row) -> dict[str, str]:
    return {"workload": row.workload, "policy": row.contender.policy, "setting": row.contender.setting}
