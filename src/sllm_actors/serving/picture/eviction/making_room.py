"""Making room for a deployment that finds none: what goes is stopped, and what it leaves is kept."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final, Protocol

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica, Told
from sllm_actors.serving.picture.room.claim import Claim

from .claims import PATIENCE
from .evictor import Evictor, Room

SWAP_PATIENCE: Final = 600.0
"""Seconds that the requests get to end of a replica that had its turn: these have done nothing wrong."""


class Stopper(Protocol):
    """Orders replicas to stop, tells gateways of it, and keeps the journal: the planner does."""

    effects: Effects

    def stop(
        self, replica: KnownReplica, reason: str, *, if_idle: bool = False, patience: float | None = None
    ) -> None:
        """Order it, for a reason: only if its requests end soon, or once they have ended, or after a time."""

    def publish(self, deployment: Deployment) -> None:
        """Tell gateways what has changed of a deployment."""


class RoomMaker:
    """Carries out what ``Evictor`` chooses.

    Args:
        fleet: The workers.
        by_uid: The deployments.
        evictor: Chooses.
        stopper: Orders replicas to stop.

    Attributes:
        robbed: The uids of deployments that have lost a replica so, and may want another one: they are to be
            planned, and taken out of it.
    """

    def __init__(
        self,
        fleet: Fleet,
        by_uid: Mapping[str, Deployment],
        evictor: Evictor,
        stopper: Stopper,
    ) -> None:
        self._fleet = fleet
        self._by_uid = by_uid
        self._evictor = evictor
        self._stopper = stopper
        self.robbed: list[str] = []

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
        room = evictor.room_of_idle(deployment, revision, now)
        if room is not None:
            self._take(deployment, revision, room, now)
            return evictor.claims.get(deployment.uid).until  # type: ignore[union-attr]
        evictor.contend(deployment)
        when, room = evictor.room_in_use(deployment, revision, now)
        if room is not None:
            self._take(deployment, revision, room, now)
        return when if isfinite(when) else None

    def _take(self, deployment: Deployment, revision: Revision, room: Room, now: float) -> None:
        """Stop what has the room, and keep it."""
        where = room.node.name or room.node.id
        patience = 0.0
        for replica in room.replicas:
            owner = self._by_uid.get(replica.key.uid)
            if owner is None or replica.ordered is Told.STOP:
                continue
            self.robbed.append(owner.uid)
            patience = max(patience, owner.spec.drain_timeout if room.idle else SWAP_PATIENCE)
            if room.idle:
                self._evictor.evicted(replica)
                owner.wanted = min(owner.wanted, max(owner.least, len(owner.running()) - 1))
                self._stopper.publish(owner)
                sentence = f"{replica.key} on {where} is idle, and {deployment.id} needs its room"
                self._stopper.effects.note_replica(replica, "replica.evicted", sentence)
                self._stopper.stop(replica, f"{deployment.id} needs its room", if_idle=True)
            else:
                sentence = f"{replica.key} on {where} had its turn, and requests wait for {deployment.id}"
                self._stopper.effects.note_replica(replica, "deployment.swapped", sentence)
                reason = f"it had its turn, and requests wait for {deployment.id}"
                self._stopper.stop(replica, reason, patience=SWAP_PATIENCE)
        until = now + patience + PATIENCE
        key = ReplicaKey(deployment.id, revision.number, -1, deployment.uid)
        replica = KnownReplica(key, room.node.id, room.need, Told.NOTHING, now)
        self._evictor.withdraw(deployment.uid)
        self._evictor.claims.add(Claim(deployment.uid, replica, room.replicas, until))
