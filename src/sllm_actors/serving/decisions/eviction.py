"""Which idle replicas go when others need their room: Greedy-Dual over the cost to come back. Pure.

The rule is Greedy-Dual-Size-Frequency (Cherkasova, 1998), as FaasCache (Fuerst and Sharma, ASPLOS 2021) uses
it to keep functions warm. A replica is worth ``L + uses * cost / share`` from its last use on; the one that
is worth least goes, and ``L`` rises to what it was worth: so one that is not used grows cheaper beside those
that are, and none is kept for ever for what it once was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import Final, Generic, TypeVar

from attrs import define, frozen

HALF_LIFE: Final = 600.0
"""Seconds after which a use counts half."""

TRIED_ONE_BY_ONE: Final = 8
"""Of so many candidates on a worker every choice is tried; of more, the cheapest are taken one by one."""

KeyT = TypeVar("KeyT", bound=Hashable)


@define
class Uses:
    """How often something was used, old uses counting less. Times are in seconds on one clock."""

    _count: float = 0.0
    _at: float = 0.0

    def add(self, count: float, now: float) -> None:
        """Take note of further uses."""
        self._count, self._at = self.at(now) + count, now

    def at(self, now: float) -> float:
        """Return how many there were, each halved once in ``HALF_LIFE``."""
        return self._count * math.exp2((self._at - now) / HALF_LIFE)


class GreedyDual:
    """What idle replicas are worth, relative to those that have gone."""

    def __init__(self) -> None:
        self._least = 0.0

    def worth(self, *, uses: float, cost: float, share: float) -> float:
        """Return what a replica is worth that has just been used.

        Args:
            uses: How often its deployment was used: see ``Uses``.
            cost: Seconds that it takes to come back once it has gone.
            share: The part of a worker, above 0 and at most 1, that is free when it has gone.
        """
        return self._least + uses * cost / share

    def evicted(self, worth: float) -> None:
        """Take note that a replica went, and what it was worth."""
        self._least = max(self._least, worth)


@frozen
class Victim(Generic[KeyT]):
    """A replica that may go.

    Attributes:
        key: Which one.
        priority: That of its deployment: one of a lower priority goes first, whatever it is worth.
        worth: See ``GreedyDual``.
    """

    key: KeyT
    priority: int
    worth: float

    @property
    def rank(self) -> tuple[int, float]:
        """The less, the sooner it goes."""
        return self.priority, self.worth


def cheapest(
    candidates: Iterable[Victim[KeyT]], enough: Callable[[Sequence[KeyT]], bool]
) -> tuple[Victim[KeyT], ...] | None:
    """Return the candidates of one worker that should go so that there is room, or None if all do not do.

    No chosen one could stay. Of all choices it is the one whose highest priority is lowest, and then the one
    that is worth least in sum; with more than ``TRIED_ONE_BY_ONE`` candidates it may be another good one.

    Args:
        candidates: Replicas on one worker.
        enough: Whether there is room once these replicas have gone. More never do worse.
    """
    ranked = sorted(candidates, key=lambda each: each.rank)
    if len(ranked) > TRIED_ONE_BY_ONE:
        return _one_by_one(ranked, enough)
    choices = (
        choice
        for size in range(len(ranked) + 1)
        for choice in combinations(ranked, size)
        if enough([each.key for each in choice])
    )
    best = min(choices, key=_price, default=None)
    return best if best is None else _needed(best, enough)


def _one_by_one(
    ranked: Sequence[Victim[KeyT]], enough: Callable[[Sequence[KeyT]], bool]
) -> tuple[Victim[KeyT], ...] | None:
    for size in range(len(ranked) + 1):
        if enough([each.key for each in ranked[:size]]):
            return _needed(ranked[:size], enough)
    return None


def _needed(
    chosen: Sequence[Victim[KeyT]], enough: Callable[[Sequence[KeyT]], bool]
) -> tuple[Victim[KeyT], ...]:
    """Leave out what need not go, the most valuable first."""
    kept = list(chosen)
    for each in reversed(chosen):
        without = [other for other in kept if other is not each]
        if enough([other.key for other in without]):
            kept = without
    return tuple(kept)


def _price(choice: Sequence[Victim[KeyT]]) -> tuple[int, float, int]:
    highest = max((each.priority for each in choice), default=-(10**9))
    return highest, sum(each.worth for each in choice), len(choice)
