"""Sizes as people read and write them: decimal units, as disks are sold by. Pure."""

from __future__ import annotations

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def shown_bytes(size: int) -> str:
    """Return a size as a person reads it: ``269 MB``, ``3.4 GB``."""
    number = float(size)
    for unit in UNITS[:-1]:
        if number < 999.5:
            return f"{number:.0f} {unit}" if number >= 99.5 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {UNITS[-1]}"
