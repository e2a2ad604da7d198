"""The figures of a head as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from bench.harness.measures import NOTHING, number
from bench.harness.results import measures_of
from bench.harness.tables import table

from .measures import judge

WORDS = {True: "met", False: "missed", None: "not measured"}


def tables(content: dict[str, Any]) -> list[Table]:
    """Return what is wanted with what was found, and the other figures."""
    figures = content["figures"]["head"]
    conditions = content["conditions"]
    measures = measures_of(content)
    verdicts = [each for each in judge(figures, conditions["rate"]) if each.measure in measures]
    judged = {verdict.measure for verdict in verdicts}
    size = (
        f"{conditions['workers']:,} workers, {conditions['deployments']:,} deployments, "
        f"{conditions['replicas']:,} replicas"
    )
    wanted = [
        [
            verdict.measure,
            measures[verdict.measure].text,
            number(verdict.found),
            verdict.target,
            measures[verdict.measure].unit,
            WORDS[verdict.met],
        ]
        for verdict in verdicts
    ]
    others = [
        [name, measure.text, number(figures.get(name)), measure.unit or NOTHING]
        for name, measure in measures.items()
        if name not in judged
    ]
    return [
        table(f"the head, with {size}", ("measure", "what", "found", "wanted", "unit", ""), wanted, texts=2),
        table("and besides", ("measure", "what", "found", "unit"), others, texts=2),
    ]
