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

FIGURES = ("gpu_seconds", "wait_p50_s", "wait_p99_s", "cold_rate", "switches")


def to_json(row: Row) -> dict[str, Any]:
    """Return a row as it stands in a result file."""
    contender, figures = row.contender, asdict(row.outcome)
    named = {"workload": row.workload, "policy": contender.policy, "setting": contender.setting}
    return {**named, "default": contender.default, **figures}


def from_json(row: dict[str, Any]) -> Row:
    """Return a row of a result file."""
    contender = Contender(row["policy"], row["setting"], row["default"])
    figures = {name: row[name] for name in (*FIGURES, "unanswered")}
    return Row(row["workload"], contender, Outcome(**figures))


def tables(content: dict[str, Any]) -> list[Table]:
    """Return every row of the room that counts, and what was won in each room."""
    rooms = {str(content["room"]): content["rows"], **content["rooms"]}
    read = {share: [from_json(each) for each in rows] for share, rows in rooms.items()}
    first = every(f"room for {content['room']} % of the peak", read[str(content["room"])])
    return [first, *(won(f"room for {share} % of the peak", rows) for share, rows in read.items())]


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
