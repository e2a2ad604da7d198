"""Pictures, where matplotlib is installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .measures import number
from .results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS: Final = 3

REMEDY: Final = (
    f"matplotlib, which draws plots, is not installed: run {sys.executable} -m pip install matplotlib"
)


def possible() -> bool:
    """Return whether matplotlib is installed here."""
    return find_spec("matplotlib") is not None


def save(figure: Figure, path: Path) -> None:
    """Write a picture, making its folder; the same figures give the same bytes."""
    import matplotlib as mpl

    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=110, metadata=metadata)


def draw_bars(results: Results, names: Sequence[str], path: Path) -> None:
    """Draw a panel for each of these measures, a bar for each subject that has it; scales are logarithmic."""
    from matplotlib.figure import Figure

    shown = [name for name in names if name in results.measures]
    columns = max(1, min(COLUMNS, len(shown)))
    height = max(1, ceil(len(shown) / columns))
    figure = Figure(
        figsize=(4 * columns, 0.6 + (1 + 0.3 * len(results.subjects)) * height), layout="constrained"
    )
    figure.suptitle(f"{results.machine['model']}, {results.machine['cores']} cores", fontsize=9)
    panels = figure.subplots(height, columns, squeeze=False).flat
    for axes, name in zip(panels, shown, strict=False):
        measure = results.measures[name]
        row = {subject: found[name] for subject, found in results.medians().items() if found.get(name)}
        axes.set_title(f"{name} ({'more' if measure.higher_is_better else 'less'} is better)", fontsize=8)
        if row:
            bars = axes.barh(list(row), list(row.values()), log=True)
            axes.bar_label(bars, labels=[number(value) for value in row.values()], padding=3, fontsize=7)
            axes.invert_yaxis()
        axes.set_xlabel(measure.unit, fontsize=7)
        axes.tick_params(which="both", labelsize=7)
        axes.margins(x=0.3)
        axes.minorticks_off()
    for axes in list(panels):
        axes.set_axis_off()
    save(figure, path)
