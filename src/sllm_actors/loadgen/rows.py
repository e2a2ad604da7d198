"""A line of CSV for each request. Pure."""

from __future__ import annotations

import csv
import io
from typing import Final

from .figures.result import RequestResult

COLUMNS: Final = (
    *("due_s", "model", "outcome", "status", "error", "ttft_ms", "e2e_ms", "tpot_ms"),
    *("lag_ms", "wait_for_connection_ms", "hold_ms", "input_tokens", "output_tokens"),
)


def header() -> str:
    """Return the first line."""
    return _line(COLUMNS)


def row(result: RequestResult) -> str:
    """Return the line of one request; a figure that there is none of is empty."""
    outcome = (
        "answered"
        if result.good
        else "failed"
        if result.error
        else "hung up"
        if result.hung_up
        else "interrupted"
    )
    return _line(
        (
            f"{result.due:.6f}",
            result.model,
            outcome,
            result.status or "",
            result.error,
            _ms(result.ttft),
            _ms(result.e2e),
            _ms(result.tpot),
            _ms(result.begun - result.due),
            _ms(result.sent - result.begun),
            _ms(result.hold),
            result.input_tokens,
            result.output_tokens,
        )
    )


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.3f}"


def _line(cells: tuple[object, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
