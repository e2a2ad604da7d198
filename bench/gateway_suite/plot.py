"""The main figures as a picture, where matplotlib is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.harness.measures import number
from bench.harness.results import measures_of

SHOWN = ("rps", "cpu_us_per_request", "cpu_us_per_chunk", "ttft_p50_ms", "ttft_p99_ms", "kib_per_stream")

REMEDY = f"matplotlib, which draws plots, is not installed: run {sys.executable} -m pip install matplotlib"


def possible() -> bool:
    """Return whether matplotlib is installed here."""
    return find_spec("matplotlib") is not None


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw a panel for each main figure, a bar for each system; scales are logarithmic."""
    from matplotlib.figure import Figure

    measures = measures_of(content)
    figure = Figure(figsize=(12, 7), layout="constrained")
    figure.suptitle(f"{content['machine']['model']}, {content['machine']['cores']} cores")
    for axes, name in zip(figure.subplots(2, 3).flat, SHOWN, strict=True):
        row = {system: figures[name] for system, figures in content["systems"].items() if figures.get(name)}
        better = "more" if name == "rps" else "less"
        axes.set_title(f"{name} ({better} is better)", fontsize=9)
        if not row:
            axes.set_axis_off()
        else:
            bars = axes.barh(list(row), list(row.values()), log=True)
            axes.bar_label(bars, labels=[number(value) for value in row.values()], padding=3, fontsize=8)
            axes.invert_yaxis()
            axes.set_xlabel(measures[name].unit)
            axes.margins(x=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
