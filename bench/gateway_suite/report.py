"""The result file of the gateway benchmark as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from bench.harness.measures import number
from bench.harness.results import measures_of
from bench.harness.tables import table

from .measures import MAIN, REFERENCE

WORDS = {True: "met", False: "missed", None: "not measured"}


def tables(content: dict[str, Any]) -> list[Table]:
    """Return the main figures, those of each phase, and the targets."""
    return [main_table(content), phases_table(content), targets_table(content)]


def main_table(content: dict[str, Any]) -> Table:
    """Return a row for each system; in brackets, the figure divided by vllm-router's."""
    measures = measures_of(content)
    names = [name for name in MAIN if name in measures]
    rows = content["systems"]
    reference = rows.get(REFERENCE, {})
    return table(
        f"medians (divided by {REFERENCE}'s)",
        ("system", *(f"{name} [{measures[name].unit}]".replace(" []", "") for name in names)),
        (
            [name, *(_with_ratio(row.get(each), reference.get(each)) for each in names)]
            for name, row in rows.items()
        ),
    )


def phases_table(content: dict[str, Any]) -> Table:
    """Return every figure of every phase."""
    systems = content["systems"]
    return table(
        "phase by phase",
        ("measure", "unit", *systems),
        (
            [name, measure.unit, *(_with_spread(content, system, name) for system in systems)]
            for name, measure in measures_of(content).items()
            if name not in MAIN
        ),
        texts=2,
    )


def targets_table(content: dict[str, Any]) -> Table:
    """Return what is wanted of ours, and whether it is so."""
    return table(
        "targets",
        ("target", "found", ""),
        ([each["target"], number(each["found"]), WORDS[each["met"]]] for each in content["targets"]),
    )


def _with_ratio(value: float | None, reference: float | None) -> str:
    if value is None or not reference:
        return number(value)
    return f"{number(value)} ({value / reference:.2f})"


def _with_spread(content: dict[str, Any], system: str, name: str) -> str:
    value = content["systems"][system].get(name)
    spread = content["spread"].get(system, {}).get(name)
    if not value or spread is None or spread["count"] < 2:
        return number(value)
    return f"{number(value)} ±{(spread['high'] - spread['low']) / 2 / value:.0%}"
