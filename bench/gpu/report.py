"""The promises of GPUs as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from bench.harness.tables import table


def tables(content: dict[str, Any]) -> list[Table]:
    """Return the table of a result file: each promise, whether it holds, and what was seen."""
    rows = [
        (promise, "holds" if found["holds"] else "BROKEN", _seen(found), f"{found['took_s']:g}")
        for promise, found in content["promises"].items()
    ]
    return [table(f"promises of GPUs, on {content['gpu']}", ("promise", "", "seen", "s"), rows, texts=3)]


def _seen(found: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items() if key not in ("holds", "took_s"))
