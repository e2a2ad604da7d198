"""The result file of the actor benchmark as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from bench.harness.measures import NOTHING, Measure, number
from bench.harness.results import measures_of
from bench.harness.tables import table

BASIS = "uvloop"
"""Whose figures the ratios are of."""


def tables(content: dict[str, Any]) -> list[Table]:
    """Return the figures with the ratios, and the targets."""
    return [figures_table(content), *([targets_table(content)] if content["targets"] else [])]


def figures_table(content: dict[str, Any]) -> Table:
    """Return all figures; beside a peer's, in brackets, how many times better ours is on uvloop."""
    ours, peers = content["ours"], content["peers"]
    mine = ours.get(BASIS, {})
    rows = [
        [
            measure.name,
            measure.unit,
            *(with_spread(content, loop, name) for loop in ours),
            *(with_ratio(measure, mine.get(name), peers[peer].get(name)) for peer in peers),
        ]
        for name, measure in measures_of(content).items()
        if any(name in figures for figures in (*ours.values(), *peers.values()))
    ]
    columns = ("measure", "unit", *ours, *(f"{peer} (x)" for peer in peers))
    conditions = content["conditions"]
    title = f"median of {conditions['rounds']} rounds (± half the distance of the extremes)"
    return table(title, columns, rows, texts=2)


def with_spread(content: dict[str, Any], subject: str, name: str) -> str:
    """Return a figure of ours, with how far its rounds lie apart."""
    figures = content["ours"][subject]
    if name not in figures:
        return NOTHING
    spread = content["spread"][subject][name]
    if spread["count"] < 2 or not figures[name]:
        return number(figures[name])
    share = (spread["high"] - spread["low"]) / 2 / figures[name]
    return f"{number(figures[name])} ±{share:.0%}"


def with_ratio(measure: Measure, ours: float | None, theirs: float | None) -> str:
    """Return a peer's figure, with how many times better ours is."""
    if theirs is None:
        return NOTHING
    gain = None if ours is None else measure.gain(ours, theirs)
    return number(theirs) if gain is None else f"{number(theirs)} ({number(gain, 2)})"


def targets_table(content: dict[str, Any]) -> Table:
    """Return what is wanted of ours on uvloop, and whether it is so."""
    rows = [
        [
            each["target"],
            number(each["found"]),
            {True: "met", False: "missed", None: "not measured"}[each["met"]],
        ]
        for each in content["targets"]
    ]
    return table("targets, of ours on uvloop", ("target", "found", ""), rows)
