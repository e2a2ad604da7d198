"""Where a replica goes that is not needed now: asleep, and how deep, or stopped. Pure.

READY, asleep at level 1, asleep at level 2, stopped: each takes less room than the one before, and more time
to come back. An engine falls asleep only from READY: vLLM cannot go from level 1 to level 2 without taking
all its memory once more. So below either sleep is only the end.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from .start_cost import CostKey, StartCosts, Tier

AS_QUICK: Final = 1.25
"""A wake from level 2 that takes at most so many times as long as one from level 1 is as good: it leaves the
machine's memory free."""


@frozen
class SleepPolicy:
    """What a deployment says about the sleep of its idle replicas.

    Attributes:
        level: 1 or 2; 0: they never sleep; None: 1, or 2 where that is as quick or memory is short.
        keep: Seconds that a replica sleeps before it is stopped; -1: until its room is needed.
    """

    level: int | None = None
    keep: float = -1.0


@frozen
class Sleeper:
    """One replica, as far as its sleep goes.

    Attributes:
        engine: See ``CostKey``.
        worker: See ``CostKey``.
        can_sleep: Whether its engine can sleep.
        memory_is_short: Whether its worker has no memory for the weights of an engine that sleeps at level 1.
    """

    engine: str
    worker: str
    can_sleep: bool
    memory_is_short: bool = False


def sleep_level(replica: Sleeper, policy: SleepPolicy, costs: StartCosts) -> int | None:
    """Return the level at which a replica that is READY sleeps when it is not needed; None: it is stopped."""
    if not replica.can_sleep or policy.level == 0:
        return None
    if policy.level is not None:
        return None if policy.level == 1 and replica.memory_is_short else policy.level
    if replica.memory_is_short:
        return 2
    light = costs.measured(CostKey(replica.engine, replica.worker, Tier.ASLEEP_1))
    deep = costs.measured(CostKey(replica.engine, replica.worker, Tier.ASLEEP_2))
    return 2 if light is not None and deep is not None and deep <= AS_QUICK * light else 1


@frozen
class Step:
    """One step down.

    Attributes:
        tier: Where the replica goes.
        level: The level of sleep, or None if it is stopped.
        cost: Seconds that it takes from there to be READY, by what was measured.
    """

    tier: Tier
    level: int | None
    cost: float


def next_down(tier: Tier, replica: Sleeper, policy: SleepPolicy, costs: StartCosts) -> Step:
    """Return where a replica goes next that has to make room.

    Args:
        tier: Where it is: READY, or asleep.
        replica: The replica.
        policy: What its deployment says.
        costs: What was measured.
    """
    level = sleep_level(replica, policy, costs) if tier is Tier.READY else None
    below = Tier.STOPPED if level is None else Tier.asleep(level)
    return Step(below, level, costs.expected(CostKey(replica.engine, replica.worker, below)))
