"""The main figures as a picture, where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path

from bench.harness.measures import number
from bench.harness.plots import save
from bench.harness.results import Results

SHOWN = ("rps", "cpu_us_per_request", "cpu_us_per_chunk", "ttft_p50_ms", "ttft_p99_ms", "kib_per_stream")


def draw(results: Results, path: Path) -> None:
    """Draw a panel for each main figure, a bar for each system; scales are logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    figure.suptitle(f"{results.machine['model']}, {results.machine['cores']} cores")
    for axes, name in zip(figure.subplots(2, 3).flat, SHOWN, strict=True):
        row = {system: figures[name] for system, figures in results.medians().items() if figures.get(name)}
        better = "more" if name == "rps" else "less"
        axes.set_title(f"{name} ({better} is better)", fontsize=9)
        if not row:
            axes.set_axis_off()
        else:
            bars = axes.barh(list(row), list(row.values()), log=True)
            axes.bar_label(bars, labels=[number(value) for value in row.values()], padding=3, fontsize=8)
            axes.invert_yaxis()
            axes.set_xlabel(results.measures[name].unit)
            axes.margins(x=0.3)
    save(figure, path)
