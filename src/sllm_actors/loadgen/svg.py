"""Plots as SVG, made here so that a page needs nothing beside itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

Point = tuple[float, float]

WIDTH: Final = 640
HEIGHT: Final = 260
LEFT: Final = 70
RIGHT: Final = 20
TOP: Final = 36
BOTTOM: Final = 44
COLOURS: Final = ("#1f6feb", "#d1242f", "#2da44e", "#8250df", "#bf8700")


def line_plot(title: str, across: str, up: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Return a plot with a line for each series.

    Args:
        title: What stands above it.
        across: What is on the horizontal axis.
        up: What is on the vertical axis, which begins at 0.
        lines: Points by the name of their series, those of each from left to right.
    """
    points = [each for series in lines.values() for each in series]
    right = _round_up(max((x for x, _ in points), default=1.0))
    top = _round_up(max((y for _, y in points), default=1.0))
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / right * plot_width, HEIGHT - BOTTOM - y / top * plot_height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="18" class="title">{escape(title)}</text>',
        f'<text x="{LEFT + plot_width / 2:.0f}" y="{HEIGHT - 8}" class="axis middle">{escape(across)}</text>',
        f'<text x="14" y="{TOP - 6}" class="axis">{escape(up)}</text>',
    ]
    for number in range(5):
        value, reached = right * number / 4, top * number / 4
        x, y = place(value, reached)
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="axis end">{_number(reached)}</text>',
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" class="axis middle">{_number(value)}</text>',
        ]
    for number, (name, series) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        legend = WIDTH - RIGHT - 110 * (len(lines) - number)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*each) for each in series))
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            f'<text x="{legend}" y="18" fill="{colour}" class="axis">{escape(name)}</text>',
        ]
    return "".join([*parts, "</svg>"])


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5, 8 and 10, times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if value <= step * power * (1 + 1e-9))


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0e}"
