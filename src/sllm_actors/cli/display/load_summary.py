"""The result of ``sllm bench serve`` for a person: what was answered, how fast, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .text_table import NOTHING, TextTable, cell, table

LATENCIES = {
    "ttft": "Time to first token",
    "itl": "Inter-token latency",
    "tpot": "Time per token after it",
    "e2e": "End to end",
    "hold": "Hold",
}

COLUMNS = ("mean", "p50", "p90", "p99", "p99.9", "max")


def headline(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about the whole run, from its document (``loadgen.report``)."""
    requests, rates = result["requests"], result["per_second"]
    told = [f"{requests['answered']} answered"]
    told += [
        f"{requests[name]} {name.replace('_', ' ')}"
        for name in ("failed", "hung_up", "interrupted")
        if requests[name]
    ]
    yield f"{', '.join(told)} in {result['seconds']:.1f} s: {rates['requests']:.2f} requests/s"
    tokens = result["tokens"]
    yield (
        f"{tokens['input']} input and {tokens['output']} output tokens: "
        f"{rates['input_tokens']:.0f} and {rates['output_tokens']:.0f} tokens/s"
    )
    if (goodput := result.get("goodput")) is not None:
        limits = ", ".join(f"{name} within {limit:g} ms" for name, limit in goodput["limits_ms"].items())
        share = "" if goodput["share"] is None else f" ({goodput['share']:.1%} of the requests)"
        yield f"Goodput ({limits}): {goodput['per_second']:.2f} requests/s{share}"


def latencies(result: Mapping[str, Any]) -> TextTable:
    """Return the table of latencies in milliseconds."""
    shown = table("Milliseconds", *COLUMNS)
    for name, title in LATENCIES.items():
        if figures := result["latency_ms"][name]:
            if name == "hold":
                title = f"Hold, {figures['count']} requests"
            shown.add_row(cell(title), *(cell(milliseconds(figures[each])) for each in COLUMNS))
    if lag := result["generator"]["lag_ms"]:
        shown.add_row(cell("Sent late"), *(cell(milliseconds(lag[each])) for each in COLUMNS))
    return shown


def models(result: Mapping[str, Any]) -> TextTable | None:
    """Return a table with a row for each of several models, or None."""
    if not result.get("models"):
        return None
    shown = table("Model", "Answered", "Failed", "TTFT p50", "TTFT p99", "End to end p50", "p99")
    for name, each in result["models"].items():
        figures = [
            milliseconds(each[kind][percentile]) if each[kind] else NOTHING
            for kind in ("ttft", "e2e")
            for percentile in ("p50", "p99")
        ]
        shown.add_row(cell(name), cell(each["answered"]), cell(each["failed"]), *map(cell, figures))
    return shown


def errors(result: Mapping[str, Any]) -> TextTable | None:
    """Return a table with a row for each kind of error, the most frequent first; None where there is none."""
    if not result["errors"]:
        return None
    shown = table("Error", "Times", "The first time", below=("The first time",))
    for name, each in sorted(result["errors"].items(), key=lambda item: -item[1]["count"]):
        shown.add_row(cell(name), cell(each["count"]), cell(each["reason"]))
    return shown


def milliseconds(value: float) -> str:
    """Return a duration with three digits that count."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
