"""The time zones that schedules name. The file of each is read once."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

LONGEST_NAME: Final = 100
"""Characters of a zone's name at most."""

KNOWN: Final = 4096
"""Names that are remembered, with those that are no zones: there are about 600 zones."""


def time_zone(name: str) -> ZoneInfo | None:
    """Return the time zone with a name as ``Europe/Berlin``, or None. It blocks if the name is new to it."""
    return _time_zone(name) if len(name) <= LONGEST_NAME else None


@lru_cache(maxsize=KNOWN)  # that of ZoneInfo keeps eight, and no name in vain
def _time_zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # the last one: a zone that is not there
        return None
