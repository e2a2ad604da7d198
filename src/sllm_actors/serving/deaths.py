"""The deaths of engines that the head tells the gateways of. Pure.

They are kept in memory only: after a restart of the head, the gateways tell it theirs again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from .messages import DIGEST_BYTES, MOST_DIGESTS, DeathKey, EngineDeath, ReportDeath

KEPT: Final = 1200.0
"""Seconds for which a death is told of: a request that two engines died of is refused for half as long."""

MOST: Final = 512
"""Deaths that are kept at most: the oldest go. They take up to two megabytes."""


class Deaths:
    """The deaths that gateways have reported. Times are in seconds by one monotonic clock."""

    def __init__(self) -> None:
        self._since: OrderedDict[DeathKey, float] = OrderedDict()

    def report(self, said: ReportDeath, now: float) -> tuple[EngineDeath | None, tuple[DeathKey, ...]]:
        """Take what a gateway reports.

        Returns:
            The entry to tell of, or None if the report is not well formed; and the keys of those that go.
        """
        if len(said.digests) > MOST_DIGESTS or any(len(made) != DIGEST_BYTES for made in said.digests):
            return None, ()
        death = EngineDeath(DeathKey(said.id, said.gateway), said.digests, said.complete)
        self._since.setdefault(death.key, now)
        return death, (self._since.popitem(last=False)[0],) if len(self._since) > MOST else ()

    def expire(self, now: float) -> tuple[DeathKey, ...]:
        """Return the keys of the deaths that are no longer told of."""
        over = []
        while self._since and next(iter(self._since.values())) + KEPT <= now:
            over.append(self._since.popitem(last=False)[0])
        return tuple(over)
