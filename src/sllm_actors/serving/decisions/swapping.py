"""Who has a contended place when all of it is in use: a polling system with quanta. Pure.

A deployment whose requests wait may take the room of one that is in use, which is drained for it: the
requests of that one wait then, and it may take room back by the same rules. So that this costs little and
nobody waits for ever:

- What serves is left alone until it has served for a *quantum*: the longer a swap takes, the longer.
- Within it, what has just become idle is left alone for a moment, a small part of a swap: clients that have
  their answers often ask again at once, and then the swap, and one back, would have been in vain. Iyer and
  Druschel found the same of disks and called it deceptive idleness ("Anticipatory scheduling", SOSP 2001).
- For one of a lower priority it is left alone until that one is *stale*, besides; for one of a higher
  priority it is drained at once.
- Of those that wait, the stale ones are served first, the oldest of them first; then those of the highest
  priority; of these, the one with the most requests and seconds of waiting for the time that a swap takes.

With equal priorities, m deployments that want one place each wait for at most the staleness bound and
the sum of everybody's quantum, swap time and longest request.
"""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import frozen

QUANTUM: Final = 10.0
"""Seconds that a replica serves at least before it is drained for a deployment of the same priority."""

QUANTUM_SWAPS: Final = 1.0
"""The same, in times of the swap."""

STALENESS: Final = 30.0
"""Seconds after which one that waits is stale."""

STALENESS_SWAPS: Final = 3.0
"""The same, in times of the swap; the longer of both counts."""

RETURN: Final = 0.25
"""Seconds for which a replica whose last request has ended is left alone at most: for the next one."""

RETURN_SWAPS: Final = 0.05
"""The same, in times of the swap; the shorter of both counts."""

SHORTEST_SWAP: Final = 0.1
"""Seconds that a swap takes at least, for weighing."""


@frozen
class Contender:
    """A deployment whose requests wait for a place.

    Attributes:
        since: When its oldest request began to wait, in seconds on the head's clock.
        held: How many requests wait.
        priority: The deployment's.
        swap: Seconds that it takes until it serves in the place of another one.
    """

    since: float
    held: int
    priority: int
    swap: float

    @property
    def stale_at(self) -> float:
        """When it becomes stale, in seconds on the head's clock."""
        return self.since + max(STALENESS, STALENESS_SWAPS * self.swap)


@frozen
class Occupant:
    """A replica that is in use, or was so just now.

    Attributes:
        ready_at: When it began to serve, in seconds on the head's clock.
        priority: Its deployment's.
        rested_at: When its deployment's last request ended; infinite while it has one.
    """

    ready_at: float
    priority: int
    rested_at: float = inf


def may_take_at(contender: Contender, occupant: Occupant) -> float:
    """Return from when on a contender may take an occupant's place, in seconds on the head's clock."""
    return min(_had_its_turn_at(contender, occupant), _left_at(contender, occupant))


def _left_at(contender: Contender, occupant: Occupant) -> float:
    """Return from when on an occupant is idle, and not only between two requests of the same clients."""
    return occupant.rested_at + min(RETURN, RETURN_SWAPS * contender.swap)


def _had_its_turn_at(contender: Contender, occupant: Occupant) -> float:
    if contender.priority > occupant.priority:
        return occupant.ready_at
    served = occupant.ready_at + max(QUANTUM, QUANTUM_SWAPS * contender.swap)
    return served if contender.priority == occupant.priority else max(served, contender.stale_at)


def turn(contender: Contender, now: float) -> tuple[float, ...]:
    """Return a key by which to sort those that wait: the least comes first."""
    if contender.stale_at <= now:
        return 0, contender.since, 0, 0
    weight = contender.held + max(0.0, now - contender.since)
    return 1, -contender.priority, -weight / max(SHORTEST_SWAP, contender.swap), contender.since
