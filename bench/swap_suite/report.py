"""The figures as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from bench.harness.measures import Measure, number, rate
from bench.harness.tables import table

MEASURES = [
    rate("rps", "requests answered per second"),
    Measure("wait_p50_s", "median of a request's time", "s", higher_is_better=False),
    Measure("wait_p99_s", "99th percentile of a request's time", "s", higher_is_better=False),
    Measure("switches", "engines started", "", higher_is_better=False),
    Measure("requests_per_switch", "requests answered for each engine started", "", higher_is_better=True),
    Measure("errors", "requests that failed", "", higher_is_better=False),
]


def figures_table(systems: Mapping[str, Mapping[str, float]], ratio: float) -> Table:
    """Return the table; ``ratio`` is how many times the requests per second of the others ours has."""
    rows = [
        (measure.text, *(number(figures[measure.name]) for figures in systems.values()), measure.unit)
        for measure in MEASURES
    ]
    title = f"more models than room: {ratio:.2f} times the requests per second of first come, first served"
    return table(title, ("figure", *systems, "unit"), rows)


def tables(content: dict[str, Any]) -> list[Table]:
    """Return the table of a result file."""
    return [figures_table(content["systems"], content["ratio"])]
