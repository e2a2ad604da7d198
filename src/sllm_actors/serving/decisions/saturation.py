"""Whether engines are so full that there should be another one, however few their requests are. Pure.

Requests are not alike: a few with long contexts fill an engine that could have many short ones. So engines
are asked how full they are. One is *saturated* if ``FULL_KV`` of its room for KV caches is taken, or
``FULL_WAITING`` requests wait inside it. Those that are not should have room to spare on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from attrs import frozen

FULL_KV: Final = 80
"""Per cent of its room for KV caches that make an engine saturated."""

FULL_WAITING: Final = 5
"""Requests waiting inside it that make it so."""

SPARE_KV: Final = 10
"""Per cent that should be left until then, on average over the engines that are not saturated."""

SPARE_WAITING: Final = 3
"""The same of waiting requests."""


@frozen
class Gauges:
    """How full the engine of a replica was at most, in the last minute.

    Attributes:
        waiting: How many requests waited inside it; ``FULL_WAITING`` may stand for more.
        kv: How many per cent of its room for KV caches were taken.
    """

    waiting: int = 0
    kv: int = 0

    @property
    def saturated(self) -> bool:
        """Whether it is."""
        return self.kv >= FULL_KV or self.waiting >= FULL_WAITING


def enough(serving: Sequence[Gauges]) -> int:
    """Return how many replicas are enough for how full engines are: one more than serve, at most.

    Fewer than serve are enough if as much as all have together would leave room to spare on fewer, too, and
    none is saturated.

    Args:
        serving: The replicas that serve.
    """
    if not serving:
        return 0
    if not any(each.waiting or each.kv for each in serving):  # as nearly always
        return 1
    calm = [each for each in serving if not each.saturated]
    needed = max(
        ceil(sum(each.kv for each in calm) / (FULL_KV - SPARE_KV)),
        ceil(sum(each.waiting for each in calm) / (FULL_WAITING - SPARE_WAITING)),
        1,
    )
    if needed > len(calm):
        return len(serving) + 1
    return needed if len(calm) == len(serving) else len(serving)


def why(serving: Sequence[Gauges]) -> str:
    """Return how full the engines are, in a few words."""
    waiting, kv = max(each.waiting for each in serving), max(each.kv for each in serving)
    said = []
    if waiting:
        many = f"{waiting} or more requests" if waiting >= FULL_WAITING else f"{waiting} requests"
        said.append(f"{many if waiting > 1 else '1 request'} waited inside one")
    if kv:
        said.append(f"{kv} % of the room for KV caches of one was taken")
    return f"its engines are full: {' and '.join(said)} in the last minute"
