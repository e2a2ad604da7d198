"""The power of two choices: the less loaded of two replicas drawn at random. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.gateway.routing.asked import Asked

from .policy import C, takes


class PowerOfTwo:
    """Chooses by the power of two choices (Mitzenmacher, 2001).

    This is nearly as even as taking the least loaded of all, but gateways that know little of each other do
    not all choose the same replica. It costs the same for any number of replicas, as long as the two that are
    drawn have room.

    Args:
        rng: The source of the draw.
    """

    def __init__(self, rng: random.Random) -> None:
        self._random = rng.random

    def choose(self, candidates: Sequence[C], asked: Asked) -> C | None:
        """See ``Policy``."""
        many = len(candidates)
        if many > 1:
            one = self._of_two(candidates, many)
            if one.room > 0 and not asked.tried and asked.stored is None:
                return one
            candidates = [each for each in candidates if takes(each, asked)]
            many = len(candidates)
            if many > 1:
                return self._of_two(candidates, many)
        if many:
            one = candidates[0]
            return one if takes(one, asked) else None
        return None

    def keep(self, replicas: frozenset[ReplicaId]) -> None:
        """See ``Policy``: nothing is remembered."""

    def _of_two(self, candidates: Sequence[C], many: int) -> C:
        first = int(self._random() * many)
        second = int(self._random() * (many - 1))
        one, other = candidates[first], candidates[second + (second >= first)]
        return other if other.load < one.load else one
