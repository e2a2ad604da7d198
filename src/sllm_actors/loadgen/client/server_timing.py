"""How long a server says that it held a request before an engine had it. Pure."""

from __future__ import annotations

import re
from typing import Final

HEADER: Final = b"server-timing"
"""The header of W3C's Server Timing, in lower case."""

COMMENT: Final = b": hold;"
"""How the comment begins that tells it in a stream which began while the request was held."""

LONGEST: Final = 1000
"""Bytes that are read of what a server says."""

_HOLD: Final = re.compile(
    rb"(?:^|[,:])\s*hold\s*;(?:[^,]*;)?\s*dur\s*=\s*\"?([0-9]{1,12}(?:\.[0-9]{1,9})?)", re.IGNORECASE
)


def hold_of(value: bytes) -> float | None:
    """Return the seconds of the metric ``hold`` in the header, or in such a comment; None for none."""
    found = _HOLD.findall(value[:LONGEST])
    return sum(map(float, found)) / 1000 if found else None
