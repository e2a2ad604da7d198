"""One node, as the head knows it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import define, field, frozen

from sllm_actors.actors import Incarnation
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.messages import Inventory, WorkerAddress

from .replica import KnownReplica
from .room.claim import Claim
from .room.ledger import room_left
from .room.need import Free

RevisionKey = tuple[str, int]
"""The uid of a deployment, and the number of one of its revisions."""


class Link(StrEnum):
    """``UP``: linked with the head; ``SUSPECT``: its link was lost, and its replicas still count; ``DOWN``:
    it was given up, and its replicas are replaced."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


@frozen
class Rejection:
    """A revision that a worker does not get for a while: it refused it, or it failed there again and again.

    Attributes:
        reason: Why, as a sentence for a person.
        until: When it may be tried there again, in seconds on the head's clock.
    """

    reason: str
    until: float


@define(eq=False)
class KnownNode:
    """One node. Times are in seconds on the head's clock.

    Attributes:
        id: Its node id.
        role: ``worker`` or ``gateway``.
        host: The address that its link comes from.
        incarnation: Which life of it is, or was, linked last; None if it has not been linked since the head
            started.
        link: Whether it is linked.
        since: When that began.
        reason: Why it is not linked; "" while it is.
        heard: When all its replicas were known last, unless they are now.
        name: The name in its last inventory; "" without one.
        draining: Whether a person has asked that its replicas be moved away.
        inventory: What it has, as it said last; None before that.
        address: Where gateways reach it, as they were told; None before that.
        changes: The ``changes`` of that inventory.
        loaded: Whether the whole of its replicas is known in this life.
        replicas: Its replicas, by key.
        claims: The room on it that is kept for deployments, by uid.
        rejections: Revisions that it does not get for a while.
    """

    id: str
    role: str
    since: float
    host: str = ""
    incarnation: Incarnation | None = None
    link: Link = Link.DOWN
    reason: str = ""
    heard: float = float("-inf")
    name: str = ""
    draining: bool = False
    inventory: Inventory | None = None
    address: WorkerAddress | None = None
    changes: int = 0
    loaded: bool = False
    replicas: dict[ReplicaKey, KnownReplica] = field(factory=dict)
    claims: dict[str, Claim] = field(factory=dict)
    rejections: dict[RevisionKey, Rejection] = field(factory=dict)

    @property
    def gpus(self) -> int:
        """How many GPUs it has."""
        return len(self.inventory.gpus) if self.inventory else 0

    @property
    def free_gpus(self) -> int:
        """How many of its GPUs no replica has, and engines can get."""
        return self.free.gpus

    @property
    def free(self) -> Free:
        """What it has left for further replicas."""
        if self.inventory is None:
            return Free()
        if not self.claims:
            return room_left(self.inventory, self.replicas.values())
        waking = {claim.wakes.key for claim in self.claims.values() if claim.wakes is not None}
        there = [replica for key, replica in self.replicas.items() if key not in waking]
        return room_left(self.inventory, [*there, *(claim.replica for claim in self.claims.values())])

    @property
    def takes_replicas(self) -> bool:
        """Whether new replicas may be placed there."""
        return self.link is Link.UP and self.loaded and self.inventory is not None and not self.draining

    def lacks_label(self, selector: Mapping[str, str]) -> str:
        """Return one of these labels that it has not, as ``name=value``; "" if it has all."""
        labels = self.inventory.labels if self.inventory else {}
        return next((f"{name}={value}" for name, value in selector.items() if labels.get(name) != value), "")

    def admits(self, uid: str, revision: int, selector: Mapping[str, str], now: float) -> bool:
        """Return whether it may have a replica of a revision, if it has room and takes replicas at all."""
        return not self.rejects((uid, revision), now) and not self.lacks_label(selector)

    def rejects(self, revision: RevisionKey, now: float) -> str:
        """Return why it does not get a revision now; "" if it may."""
        rejection = self.rejections.get(revision)
        return rejection.reason if rejection is not None and now < rejection.until else ""
