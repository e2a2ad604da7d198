"""How long ago something was, in one word. Pure."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_HIGHEST = 2
"""A unit is used from twice its length on: 90 minutes are ``90m``, 150 are ``2h``."""


def age(since: float, now: float) -> str | None:
    """Return the time from ``since`` until ``now`` as ``42s``, ``3m``, ``5h`` or ``12d``.

    Args:
        since: Seconds since the epoch; 0 for unknown, which gives None. A moment in the future counts as now:
            the clock of another machine may be ahead.
        now: Seconds since the epoch.
    """
    if not since:
        return None
    seconds = max(0, int(now - since))
    for unit, length in _UNITS:
        if seconds >= _HIGHEST * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
