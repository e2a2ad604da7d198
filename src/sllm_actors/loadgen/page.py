"""The result of a run as one page of HTML with its pictures inside. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from .svg import Point, line_plot

TITLES: Final = {
    "ttft": "time to first token",
    "itl": "inter-token latency",
    "tpot": "time per token after it",
    "e2e": "end to end",
    "hold": "hold",
}

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1340px; color: #1f2328 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .9em; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #d1d9e0 }
.plots { display: flex; flex-wrap: wrap; gap: 1em } svg { width: 640px; max-width: 100% }
.title { font-weight: 600; font-size: 14px } .axis { font-size: 11px } .middle { text-anchor: middle }
.end { text-anchor: end } .grid { stroke: #d1d9e0; stroke-width: .6 } .warning { color: #9a6700 }
"""


def page(result: Mapping[str, Any], sentences: Sequence[str]) -> str:
    """Return the page of a document of ``report``.

    Args:
        result: The document.
        sentences: What stands at the top.
    """
    title = f"Load on {', '.join(result['conditions'].get('models', ()))}"
    plots = "".join(_plots(result))
    warnings = "".join(
        f'<p class="warning">Warning: {escape(each)}.</p>' for each in result["generator"]["warnings"]
    )
    said = "".join(f"<p>{escape(each)}</p>" for each in sentences)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{said}{warnings}"
        f"{_latencies(result)}{_errors(result)}"
        f'<div class="plots">{plots}</div>{_conditions(result)}</body></html>\n'
    )


def _plots(result: Mapping[str, Any]) -> Iterator[str]:
    timeline = result["timeline"]
    width = timeline["seconds"]

    def per_second(name: str) -> Sequence[Point]:
        return [(number * width, each / width) for number, each in enumerate(timeline[name])]

    def points(name: str) -> Sequence[Point]:
        return [(number * width, each) for number, each in enumerate(timeline[name]) if each is not None]

    requests = {name: per_second(name) for name in ("arrived", "answered", "failed")}
    yield line_plot("Requests", "seconds", "per second", requests)
    yield line_plot("Output tokens", "seconds", "per second", {"tokens": per_second("output_tokens")})
    if result["latency_ms"]["ttft"]:
        lines = {"mean": points("ttft_mean_ms"), "longest": points("ttft_max_ms")}
        yield line_plot("Time to first token", "seconds", "milliseconds", lines)
    for name, curve in result["distribution_ms"].items():
        found = [(percent, value) for percent, value in curve]
        title = TITLES[name]
        yield line_plot(
            f"{title[0].upper()}{title[1:]}: percentiles", "percent", "milliseconds", {name: found}
        )


def _latencies(result: Mapping[str, Any]) -> str:
    columns = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")
    rows = [
        [title, *(f"{result['latency_ms'][name][each]:.2f}" for each in columns)]
        for name, title in TITLES.items()
        if result["latency_ms"][name]
    ]
    return _table(["milliseconds", *columns], rows) if rows else ""


def _errors(result: Mapping[str, Any]) -> str:
    rows = [[name, str(each["count"]), each["reason"]] for name, each in result["errors"].items()]
    return _table(["error", "times", "the first time"], rows) if rows else ""


def _conditions(result: Mapping[str, Any]) -> str:
    rows = [
        [name.replace("_", " "), str(value)]
        for name, value in result["conditions"].items()
        if value not in (None, [], {}, "")
    ]
    return f"<h2>What was run</h2>{_table(['', ''], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f"<th>{escape(each)}</th>" for each in head)
    below = "".join(f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows)
    return f"<table><tr>{first}</tr>{below}</table>"
