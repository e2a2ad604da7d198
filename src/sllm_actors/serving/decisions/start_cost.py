"""What it takes until a replica is READY, as measured: from nothing, or from a level of sleep. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from attrs import field, frozen

WEIGHT: Final = 0.3
"""How much the newest measurement counts against all before it."""

MOST_COSTS: Final = 16_384
"""The most costs that are remembered; of too many, the one that was measured longest ago is forgotten."""

UNKNOWN_START: Final = 30.0
"""Seconds that a start is taken to last where none was measured; a level of sleep counts as a part of it."""

TYPICAL_START: Final = 10.0
"""Seconds that the start of any engine is taken to last before one was measured."""

_PARTS: Final = {"stopped": 1.0, "asleep_2": 0.5, "asleep_1": 0.1}


class Tier(StrEnum):
    """Where a replica comes back from, the dearest first."""

    STOPPED = "stopped"
    ASLEEP_2 = "asleep_2"
    ASLEEP_1 = "asleep_1"
    READY = "ready"

    @classmethod
    def asleep(cls, level: int) -> Tier:
        """Return the tier of a replica that sleeps at a level; one that merely pauses counts as ASLEEP_1."""
        return cls.ASLEEP_2 if level >= 2 else cls.ASLEEP_1


@frozen(order=True)
class CostKey:
    """What a cost was measured of.

    Attributes:
        engine: The fingerprint of the revision: two with one fingerprint are the same engine.
        worker: The node id of the worker.
        tier: Where the replica came back from.
    """

    engine: str
    worker: str
    tier: Tier


@frozen
class Cost:
    """A moving average of measured seconds."""

    key: CostKey
    seconds: float = field(converter=float)


class StartCosts:
    """The measured costs. Learning and looking one up costs the same however many there are.

    Args:
        known: What was measured before, the oldest first.

    Attributes:
        typical: Seconds that starts of any engine took lately, a moving average.
    """

    def __init__(self, known: tuple[Cost, ...] = ()) -> None:
        self._costs: dict[CostKey, float] = {}
        self._by_engine: dict[tuple[str, Tier], dict[str, float]] = {}
        self.typical = TYPICAL_START
        for each in known:
            self._put(each.key, each.seconds)
            if each.key.tier is Tier.STOPPED:
                self.typical += WEIGHT * (each.seconds - self.typical)

    def learn(self, key: CostKey, seconds: float) -> Cost:
        """Take a measurement; return what is known of that key now. Of too many, the oldest is forgotten."""
        before = self._costs.pop(key, None)
        mean = seconds if before is None else before + WEIGHT * (seconds - before)
        self._put(key, mean)
        if key.tier is Tier.STOPPED:
            self.typical += WEIGHT * (seconds - self.typical)
        return Cost(key, mean)

    def measured(self, key: CostKey) -> float | None:
        """Return what was measured of exactly this; None if nothing was."""
        return self._costs.get(key)

    def expected(self, key: CostKey) -> float:
        """Return how many seconds it will take.

        What was measured there; else the mean of what was measured on other workers; else a part of what a
        start takes, which is ``UNKNOWN_START`` where that was not measured either.
        """
        known = self._known(key)
        return self._guess(key) if known is None else known

    def known(self, engine: str, tier: Tier) -> float | None:
        """Return the mean of what was measured of an engine on all workers; None if nothing was."""
        workers = self._by_engine.get((engine, tier))
        return sum(workers.values()) / len(workers) if workers else None

    def _known(self, key: CostKey) -> float | None:
        here = self._costs.get(key)
        return self.known(key.engine, key.tier) if here is None else here

    def _guess(self, key: CostKey) -> float:
        if key.tier is Tier.READY:
            return 0.0
        start = None
        if key.tier is not Tier.STOPPED:
            start = self._known(CostKey(key.engine, key.worker, Tier.STOPPED))
        return _PARTS[key.tier] * (UNKNOWN_START if start is None else start)

    def _put(self, key: CostKey, seconds: float) -> None:
        if len(self._costs) >= MOST_COSTS:
            self._drop(next(iter(self._costs)))
        self._costs[key] = seconds
        self._by_engine.setdefault((key.engine, key.tier), {})[key.worker] = seconds

    def _drop(self, key: CostKey) -> None:
        del self._costs[key]
        workers = self._by_engine[key.engine, key.tier]
        del workers[key.worker]
        if not workers:
            del self._by_engine[key.engine, key.tier]
