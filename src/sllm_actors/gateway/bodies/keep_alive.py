"""Reads what a request wishes of the time for which its model stays loaded, as Ollama's clients do. Pure."""

from __future__ import annotations

import re
from typing import Final

from sllm_actors.gateway import errors

ALWAYS: Final = -1.0
"""What every negative wish means: as long as it can be."""

LONGEST: Final = 100
"""Characters of a wish."""

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15}"
_SECONDS = re.compile(rf"[+-]?(?:{_NUMBER})")
_DURATION = re.compile(rf"([+-]?)((?:(?:{_NUMBER})(?:ns|us|µs|μs|ms|s|m|h))+)")
_PART = re.compile(rf"({_NUMBER})([a-zµμ]+)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(wish: float | str | None) -> float | None:
    """Return for how many seconds an idle model is to stay, ``ALWAYS`` for a negative wish; None for none.

    Args:
        wish: A number of seconds, as ``300``, ``0`` or ``-1``; the same in a text; or a text of numbers with
            their units, as ``"5m"``, ``"1h30m"`` or ``"-1s"``; or None.

    Raises:
        ApiError: It is another text (400).
    """
    if wish is None:
        return None
    seconds = _of_text(wish.strip()) if isinstance(wish, str) else wish
    return seconds if seconds >= 0 else ALWAYS


def _of_text(text: str) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    found = _DURATION.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise errors.bad_keep_alive()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(found[2]))
    return -seconds if found[1] == "-" else seconds
