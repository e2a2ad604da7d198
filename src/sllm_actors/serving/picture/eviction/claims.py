"""All claims on room: at most one of each deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.replica import Told
from sllm_actors.serving.picture.room.claim import Claim

PATIENCE: Final = 60.0
"""Seconds that what was stopped may take to be gone, on top of the time for its requests to end."""


class Claims:
    """The claims. What is claimed is not free for others.

    Args:
        fleet: The workers.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._claims: dict[str, Claim] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        """Return all of them."""
        return iter(self._claims.values())

    def get(self, uid: str) -> Claim | None:
        """Return the claim of a deployment, or None."""
        return self._claims.get(uid)

    def add(self, claim: Claim) -> None:
        """Keep room for a deployment that has no claim."""
        assert claim.uid not in self._claims
        self._claims[claim.uid] = claim
        node = self._fleet.nodes[claim.node]
        node.claims[claim.uid] = claim
        self._fleet.weigh(node)

    def drop(self, uid: str) -> Claim | None:
        """Keep no room for a deployment any more; return what was kept, or None."""
        claim = self._claims.pop(uid, None)
        if claim is not None and (node := self._fleet.nodes.get(claim.node)) is not None:
            node.claims.pop(uid, None)
            self._fleet.weigh(node)
        return claim

    def is_void(self, claim: Claim, now: float) -> bool:
        """Return whether a claim leads to nothing: its worker takes no replica, or what was to go stays."""
        node = self._fleet.nodes.get(claim.node)
        if node is None or not node.takes_replicas or now >= claim.until:
            return True
        if node.rejects((claim.uid, claim.replica.key.revision), now):
            return True
        return not all(each.is_ordered for each in claim.going)

    def is_spent(self, claim: Claim) -> bool:
        """Return whether all that was to make way has done so: what is missing still, it will not leave."""
        there = self._fleet.nodes[claim.node].replicas
        return all(
            there.get(each.replica.key) is not each.replica
            or (each.level is not None and each.replica.is_asleep and each.replica.ordered is Told.RUN)
            for each in claim.going
        )
