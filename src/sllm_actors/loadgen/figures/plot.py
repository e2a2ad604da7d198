"""Numbers as text plots: a row of bars for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"


def bars(values: Sequence[float], width: int) -> str:
    """Return a bar for each of the last ``width`` values, the highest of them as high as a bar can be.

    One that is 0 is a blank.
    """
    shown = values[-width:] if width > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return " " * len(shown)
    top = len(BARS) - 1
    return "".join(BARS[round(each / most * top)] if each > 0 else " " for each in shown)
