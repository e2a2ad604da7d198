"""The deployments that wait for room, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sllm_actors.serving.decisions.start_cost import CostKey, StartCosts, Tier
from sllm_actors.serving.decisions.swapping import Contender, turn
from sllm_actors.serving.picture.deployment import Deployment
from sllm_actors.serving.picture.indices.demand import DemandTable
from sllm_actors.serving.picture.missing import waiting_revision
from sllm_actors.serving.picture.replica import KnownReplica

from .candidates import Candidates

LOOKED_AT: Final = 64
"""How many of those that wait are looked at for a choice."""

WOKEN: Final = 4
"""How many of those that wait try again when a replica may go."""

LOOK_AGAIN: Final = 0.5
"""Seconds after which one that waits looks again, if it cannot tell when; with many, it is later."""


class Contenders:
    """All deployments that find no room.

    Args:
        candidates: Knows since when requests wait, and what starts cost.
        demand: What clients want.
        costs: What wakes took.
    """

    def __init__(self, candidates: Candidates, demand: DemandTable, costs: StartCosts) -> None:
        self._candidates = candidates
        self._demand = demand
        self._costs = costs
        self._waiting: dict[str, tuple[Deployment, KnownReplica | None]] = {}

    def __contains__(self, uid: str) -> bool:
        """Return whether a deployment waits for room."""
        return uid in self._waiting

    def add(self, deployment: Deployment, wakes: KnownReplica | None = None) -> None:
        """Take note that a deployment finds no room: for a new replica, or for one that is to wake."""
        self._waiting[deployment.uid] = deployment, wakes

    def drop(self, uid: str) -> None:
        """Take note that a deployment looks for no room any more."""
        self._waiting.pop(uid, None)

    def waking(self, uid: str) -> KnownReplica | None:
        """Return the replica of a deployment that waits for room to wake; None if there is none."""
        waits = self._waiting.get(uid)
        return None if waits is None else waits[1]

    def weighed(self, deployment: Deployment, now: float) -> Contender:
        """Return how a deployment stands among those that wait; it need not wait itself."""
        since = self._candidates.held_since(deployment.uid)
        held, wakes = self._demand.of(deployment.id).held, self.waking(deployment.uid)
        revision = waiting_revision(deployment)
        swap = self._candidates.cost(revision)
        if wakes is not None:
            tier = Tier.asleep(wakes.slept or 1)
            swap = self._costs.expected(CostKey(revision.fingerprint, wakes.node, tier))
        return Contender(now if since is None else since, held, deployment.spec.priority, swap)

    def next_in_turn(self, now: float) -> list[str]:
        """Return the uids of those that should try now, in turn."""
        if not self._waiting:
            return []
        found = sorted(
            (turn(self.weighed(each, now), now), uid)
            for uid, (each, _) in islice(self._waiting.items(), LOOKED_AT)
        )
        return [uid for _, uid in found[:WOKEN]]

    def before(self, deployment: Deployment, now: float) -> Iterator[tuple[Deployment, Contender]]:
        """Return those whose turn is before that of a deployment, in turn."""
        mine = turn(self.weighed(deployment, now), now)
        earlier = []
        for other, _ in islice(self._waiting.values(), LOOKED_AT):
            contender = self.weighed(other, now)
            its = turn(contender, now)
            if its < mine and other is not deployment:
                earlier.append((its, other, contender))
        earlier.sort(key=lambda each: each[0])
        return ((other, contender) for _, other, contender in earlier)

    def again(self, now: float) -> float:
        """Return when one that waits looks again, if it cannot tell when it may have room."""
        return now + max(LOOK_AGAIN, len(self._waiting) / LOOKED_AT)
