"""Sizes as people read and write them: decimal units, as disks are sold by. Pure."""

from __future__ import annotations

import re

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>|B|[KMGTP]I?B?)", re.IGNORECASE)


def shown_bytes(size: int) -> str:
    """Return a size as a person reads it: ``269 MB``, ``3.4 GB``."""
    number = float(size)
    for unit in UNITS[:-1]:
        if number < 999.5:
            return f"{number:.0f} {unit}" if number >= 99.5 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} {UNITS[-1]}"


def parse_bytes(text: str) -> int:
    """Read a size as a person writes it: ``200GB``, ``1.5 TB``, ``64GiB``; a bare number is bytes.

    Raises:
        ValueError: The text is no size, and the error says how to write one; or it is no size of anything.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size: write one like 200GB, 1.5TB or 64GiB")
    if len(found["number"]) > 24:
        raise ValueError(f"{text[:12]!r}… is more bytes than any disk or memory has")
    unit = found["unit"].upper()
    factor = 1024 if unit.endswith("IB") else 1000
    power = 0 if unit in ("", "B") else "BKMGTP".index(unit[0])
    return int(float(found["number"]) * factor**power)
