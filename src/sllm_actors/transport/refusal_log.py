"""Which refused connections are told in the log, so that nobody can fill it by knocking. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from attrs import define

from .hello import Code

AGAIN_AFTER: Final = 600.0
"""Seconds until the same refusal of the same host is told once more, with how often it came meanwhile."""

PASSING: Final = frozenset({Code.JOINING, Code.LINKED, Code.DOWN, Code.BUSY, Code.LANE})
"""Refusals as nodes that belong here meet them in passing: nobody has to know of them."""

MOST: Final = 256
"""Hosts and kinds of refusals that are told apart; of more, a new one is told each second."""


@define
class _Told:
    again: float
    times: int = 0


class RefusalLog:
    """Counts refusals, and decides which are told.

    Attributes:
        counts: How many there were, by kind.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._told: dict[tuple[str, str], _Told] = {}
        self._room_made = float("-inf")

    def lasting(self) -> dict[str, int]:
        """Return ``counts`` without those that pass by themselves."""
        return {kind: count for kind, count in self.counts.items() if kind not in PASSING}

    def note(self, host: str, kind: str, now: float) -> int:
        """Count a refusal; return how many of that kind and host are to be told of now: 0 for none.

        Args:
            host: The address that was refused.
            kind: Why, in one word.
            now: The time, in seconds.
        """
        self.counts[kind] += 1
        told = self._told.pop((host, kind), None)
        if told is not None and now < told.again:
            told.times += 1
            self._told[host, kind] = told
            return 0
        if told is None and len(self._told) >= MOST:
            if now < self._room_made + 1.0:
                return 0
            self._room_made = now
            del self._told[next(iter(self._told))]
        self._told[host, kind] = _Told(now + AGAIN_AFTER)
        return 1 + (0 if told is None else told.times)
