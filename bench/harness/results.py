"""Result files: JSON with a version, so that an old one is refused rather than misread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .measures import Measure

VERSION: Final = 1
"""Of the layout: raised when an old file cannot be read as a new one."""


class BadResults(Exception):
    """A file is no result file of this version; the text says why."""


def document(
    benchmark: str,
    *,
    machine: dict[str, Any],
    measures: list[Measure],
    conditions: dict[str, Any],
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Return a result file's content.

    Args:
        benchmark: Which one it is.
        machine: See ``machine_facts``.
        measures: Everything that ``figures`` may hold.
        conditions: How it was run: command, rounds, load averages.
        figures: Groups of subjects, a subject being a dict of figures by measure. The groups become the
            file's own keys.
    """
    return {
        "version": VERSION,
        "benchmark": benchmark,
        "machine": machine,
        **figures,
        "conditions": conditions,
        "groups": list(figures),
        "measures": {measure.name: measure.to_json() for measure in measures},
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a result file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        BadResults: It is not there, or no result file of this version.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise BadResults(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadResults(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or "benchmark" not in content:
        raise BadResults(f"{path} is not a result file: run a benchmark with --json")
    if content.get("version") != VERSION:
        raise BadResults(
            f"{path} has version {content.get('version')}, this harness reads {VERSION}: "
            "run the benchmark again"
        )
    return content


def measures_of(content: dict[str, Any]) -> dict[str, Measure]:
    """Return the measures that a result file declares, by name."""
    return {name: Measure.from_json(name, raw) for name, raw in content["measures"].items()}


def figures_of(content: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield ``(group/subject, measure, value)`` for every figure of a result file, in its order."""
    for group in content["groups"]:
        for subject, figures in content[group].items():
            for name, value in figures.items():
                if isinstance(value, int | float) and name in content["measures"]:
                    yield f"{group}/{subject}", name, float(value)
