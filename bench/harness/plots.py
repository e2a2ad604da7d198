"""Pictures, where matplotlib is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
