"""The result of a run as a document of JSON, with a version. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .figures.figures import Figures
from .figures.generator_load import GeneratorLoad
from .figures.histogram import Durations

VERSION: Final = 1
"""Of the layout: raised when an old document cannot be read as a new one."""

LATENCIES: Final = ("ttft", "itl", "tpot", "e2e", "hold")

PERCENTS: Final = (*range(0, 100, 5), 98.0, 99.0, 99.5, 99.9, 100.0)
"""Of which percentiles the document has a curve."""


def document(
    figures: Figures, load: GeneratorLoad, *, interrupted: bool, conditions: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the document.

    Args:
        figures: What the results add up to.
        load: What the generator itself has done.
        interrupted: Whether ^C ended the run.
        conditions: What was run, and on what.
    """
    seconds = figures.seconds
    found: dict[str, Any] = {
        "version": VERSION,
        "kind": "sllm bench serve",
        "conditions": dict(conditions),
        "interrupted": interrupted,
        "seconds": seconds,
        "requests": {
            "ended": figures.sent,
            "answered": figures.answered,
            "failed": figures.failed,
            "hung_up": figures.hung_up,
            "interrupted": figures.interrupted,
        },
        "tokens": {"input": figures.input_tokens, "output": figures.output_tokens},
        "per_second": {
            "requests": figures.answered / seconds,
            "input_tokens": figures.input_tokens / seconds,
            "output_tokens": figures.output_tokens / seconds,
        },
        "latency_ms": {name: _of(figures, name).summary() for name in LATENCIES},
        "errors": {
            name: {"count": each.count, "reason": each.reason} for name, each in figures.errors.items()
        },
        "generator": {
            "lag_ms": figures.lag.summary(),
            "processor_share": load.processor_share,
            "waited_for_connection": load.waited,
            "warnings": list(load.warnings()),
        },
        "timeline": figures.timeline.document(),
        "distribution_ms": {
            name: [[percent, value * 1000] for percent, value in _of(figures, name).curve(PERCENTS)]
            for name in LATENCIES
            if _of(figures, name).count
        },
        "histograms": {name: _of(figures, name).encoded() for name in LATENCIES if _of(figures, name).count},
    }
    if figures.goals is not None:
        found["goodput"] = {
            "limits_ms": {name: limit * 1000 for name, limit in figures.goals.limits.items()},
            "good": figures.good,
            "per_second": figures.good / seconds,
            "share": figures.good / figures.sent if figures.sent else None,
        }
    if figures.models:
        found["models"] = {
            name: {
                "answered": each.answered,
                "failed": each.failed,
                "ttft": each.ttft.summary(),
                "e2e": each.e2e.summary(),
            }
            for name, each in figures.models.items()
        }
    return found


def _of(figures: Figures, name: str) -> Durations:
    found: Durations = getattr(figures, name)
    return found
