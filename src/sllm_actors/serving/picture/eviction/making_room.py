"""Making room for a deployment that finds none: what goes is stopped, and what it leaves is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.planning.ordering import Ordering
from sllm_actors.serving.picture.replica import KnownReplica, Told
from sllm_actors.serving.picture.room.claim import Claim

from .claims import PATIENCE
from .evictor import Evictor, Room

SWAP_PATIENCE: Final = 600.0
"""Seconds that the requests get to end of a replica that had its turn: these have done nothing wrong."""


class RoomMaker:
    """Carries out what ``Evictor`` chooses.

    Args:
        fleet: The workers.
        by_uid: The deployments.
        evictor: Chooses.
        orders: Orders replicas to stop, and keeps the journal.
        publish: Tells gateways what has changed of a deployment.

    Attributes:
        touched: The uids of deployments that are to be planned, and taken out of it: they have lost a replica
            so, and may want another one, or it is their turn to have room.
    """

    def __init__(
        self,
        fleet: Fleet,
        by_uid: Mapping[str, Deployment],
        evictor: Evictor,
        orders: Ordering,
        publish: Callable[[Deployment], None],
    ) -> None:
        self._fleet = fleet
        self._by_uid = by_uid
        self._evictor = evictor
        self._orders = orders
        self._publish = publish
        self.touched: list[str] = []

    def place(self, deployment: Deployment, revision: Revision, now: float) -> KnownNode | None:
        """Return the worker on which room was made for a deployment, if that is free now.

        The room is then no longer kept: it is the caller's.
        """
        claims = self._evictor.claims
        claim = claims.get(deployment.uid)
        if claim is None:
            return None
        if claim.replica.key.revision != revision.number or claims.is_void(claim, now):
            self._evictor.give_up(deployment.uid)
            return None
        node = self._fleet.nodes[claim.node]
        claims.drop(deployment.uid)
        if node.free.fits(deployment.need(revision, node.gpus)):
            return node
        claims.add(claim)
        return None

    def make(self, deployment: Deployment, revision: Revision, now: float) -> float | None:
        """Make room for one replica that found none, if others may go for it.

        Return when to try again though nothing happens, in seconds on the head's clock, or None.
        """
        evictor = self._evictor
        claim = evictor.claims.get(deployment.uid)
        if claim is not None:
            return claim.until
        if not evictor.may_take(deployment):
            evictor.withdraw(deployment.uid)
            return None
        evictor.contend(deployment)
        room = evictor.room_of_idle(deployment, revision, now)
        when = now
        if room is None:
            when, room = evictor.room_in_use(deployment, revision, now)
        if room is None:
            return when if isfinite(when) else None
        first = evictor.before(deployment, room, now)
        if first is None:
            return self._take(deployment, revision, room, now)
        self.touched.append(first)
        return evictor.again(now)

    def _take(self, deployment: Deployment, revision: Revision, room: Room, now: float) -> float:
        """Stop what has the room, and keep it; return until when."""
        patience = 0.0
        for replica in room.replicas:
            owner = self._by_uid.get(replica.key.uid)
            if owner is None or replica.ordered is Told.STOP:
                continue
            self.touched.append(owner.uid)
            if self._evictor.is_idle(replica):
                patience = max(patience, owner.spec.drain_timeout)
                self._evict(owner, replica, deployment.id, room.node)
            else:
                patience = SWAP_PATIENCE
                self._drain(replica, deployment.id, room.node)
        key = ReplicaKey(deployment.id, revision.number, -1, deployment.uid)
        kept = KnownReplica(key, room.node.id, room.need, Told.NOTHING, now)
        claim = Claim(deployment.uid, kept, room.replicas, now + patience + PATIENCE)
        self._evictor.withdraw(deployment.uid)
        self._evictor.claims.add(claim)
        return claim.until

    def _evict(self, owner: Deployment, replica: KnownReplica, by: str, node: KnownNode) -> None:
        """Stop an idle replica if it is idle still; its deployment wants it no longer."""
        self._evictor.evicted(replica)
        owner.wanted = min(owner.wanted, max(owner.least, len(owner.running()) - 1))
        self._publish(owner)
        sentence = f"{replica.key} on {node.name or node.id} is idle, and {by} needs its room"
        self._orders.effects.note_replica(replica, "replica.evicted", sentence)
        self._orders.stop(replica, f"{by} needs its room", if_idle=True)

    def _drain(self, replica: KnownReplica, by: str, node: KnownNode) -> None:
        """Stop a replica in use once its requests have ended; its deployment waits for a place then."""
        sentence = f"{replica.key} on {node.name or node.id} had its turn, and requests wait for {by}"
        self._orders.effects.note_replica(replica, "deployment.swapped", sentence)
        self._orders.stop(replica, f"it had its turn, and requests wait for {by}", patience=SWAP_PATIENCE)
