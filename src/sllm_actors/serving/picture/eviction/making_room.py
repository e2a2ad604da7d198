"""Making room for a deployment that finds none: what goes is stopped, and what it leaves is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final

from attrs import evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.planning.ordering import Ordering
from sllm_actors.serving.picture.replica import KnownReplica, Told
from sllm_actors.serving.picture.room.claim import Claim, Demotion
from sllm_actors.serving.picture.room.fitting import fits_after

from .claims import PATIENCE
from .evictor import Evictor, Room

SWAP_PATIENCE: Final = 600.0
"""Seconds that the requests get to end of a replica that had its turn: these have done nothing wrong. Then it
is stopped with them, also one that was to sleep."""


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
        changed = claim.replica.key.revision != revision.number
        if changed or claim.wakes is not None or claims.is_void(claim, now):
            self._evictor.give_up(deployment.uid, now)
            return None
        node = self._fleet.nodes[claim.node]
        claims.drop(deployment.uid)
        if node.free.fits(deployment.need(revision, node.gpus)):
            return node
        if not claims.is_spent(claim):  # else it has to be made on
            claims.add(claim)
        return None

    def wakes(self, deployment: Deployment, replica: KnownReplica, now: float) -> bool:
        """Return whether a replica of a deployment has room now to wake, which is then no longer kept."""
        claims = self._evictor.claims
        claim = claims.get(deployment.uid)
        if claim is not None and (claim.wakes is not replica or claims.is_void(claim, now)):
            self._evictor.give_up(deployment.uid, now)
            claim = None
        if claim is not None:
            claims.drop(deployment.uid)
        if fits_after(self._fleet.nodes[replica.node], replica.need, (), replica):
            return True
        if claim is not None and not claims.is_spent(claim):
            claims.add(claim)
        return False

    def is_for_another(
        self, deployment: Deployment, revision: Revision, replica: KnownReplica, now: float
    ) -> bool:
        """Return whether room for a new replica is nearer than for one that sleeps: that one need not wait.

        That is so if something idle can make way elsewhere, or nothing in use can where it sleeps, nor what
        starts there. Nothing idle can there now, and no room is kept for it.
        """
        evictor = self._evictor
        if not evictor.may_take(deployment):
            return False
        if evictor.room_of_idle(deployment, revision, now) is not None:
            return True
        if not deployment.held or evictor.may_soon_make_way(replica.node, deployment, now):
            return False
        evictor.contenders.add(deployment, replica)
        return evictor.turn_at(deployment, now) is None

    def make(
        self, deployment: Deployment, revision: Revision, now: float, wakes: KnownReplica | None = None
    ) -> float | None:
        """Make room for one replica that found none, if others may go for it.

        Args:
            deployment: Of which it is.
            revision: Of which a new one would be.
            now: Seconds on the head's clock.
            wakes: The one that is to wake; None: a new one starts.

        Returns:
            When to try again though nothing happens, in seconds on the head's clock, or None.
        """
        evictor = self._evictor
        claim = evictor.claims.get(deployment.uid)
        if claim is not None:
            return claim.until
        if not evictor.may_take(deployment):
            evictor.withdraw(deployment.uid)
            return None
        evictor.contenders.add(deployment, wakes)
        room = evictor.room_of_idle(deployment, revision, now, wakes)
        when = now
        if room is None and isfinite(soon := evictor.room_soon_idle(deployment, revision, now, wakes)):
            return soon
        if room is None:
            when, room = evictor.room_in_use(deployment, revision, now, wakes)
        if room is None:
            return when if isfinite(when) else None
        first = evictor.before(deployment, room, now)
        if first is None:
            return self._take(deployment, revision, room, now)
        self.touched.append(first)
        return evictor.contenders.again(now)

    def _take(self, deployment: Deployment, revision: Revision, room: Room, now: float) -> float:
        """Stop what has the room, and keep it; return until when."""
        patience = 0.0
        for going in room.going:
            replica = going.replica
            owner = self._by_uid.get(replica.key.uid)
            if owner is None or going.is_ordered:
                continue
            self.touched.append(owner.uid)
            if self._evictor.candidates.is_idle(replica):
                patience = max(patience, owner.spec.drain_timeout)
                self._evict(owner, going, deployment.id, room.node, now)
            else:
                patience = SWAP_PATIENCE
                self._drain(owner, going, deployment.id, room.node)
        key = ReplicaKey(deployment.id, revision.number, -1, deployment.uid)
        kept = KnownReplica(key, room.node.id, room.need, Told.NOTHING, now)
        if room.wakes is not None and room.wakes.report is not None:  # on the GPUs that it had
            kept.report = evolve(room.wakes.report, state=ReplicaState.READY, level=None)
        claim = Claim(deployment.uid, kept, room.going, now + patience + PATIENCE, room.wakes)
        self._evictor.withdraw(deployment.uid)
        self._evictor.claims.add(claim)
        return claim.until

    def _evict(self, owner: Deployment, going: Demotion, by: str, node: KnownNode, now: float) -> None:
        """Let an idle replica make way if it is idle still; its deployment wants it no longer."""
        replica, level = going.replica, going.level
        self._evictor.candidates.evicted(replica)
        awake = sum(each.sleep is None for each in owner.running())
        left = min(owner.wanted, max(owner.least, awake - 1))
        owner.want(left, f"{by} needed its room", now)
        self._publish(owner)
        where = f"{replica.key} on {node.name or node.id} is idle, and {by} needs its room"
        asleep = "" if level is None else f": it sleeps at level {level}"
        self._orders.effects.note_replica(replica, "replica.evicted", where + asleep)
        if level is None:
            self._orders.stop(replica, f"{by} needs its room", if_idle=True)
        else:
            self._orders.rest(owner, replica, level, f"{by} needs its room")

    def _drain(self, owner: Deployment, going: Demotion, by: str, node: KnownNode) -> None:
        """Let a replica in use make way once its requests have ended; its deployment waits for room then."""
        replica, level, why = going.replica, going.level, f"had its turn, and requests wait for {by}"
        asleep = "" if level is None else f": it sleeps at level {level} when its own have ended"
        sentence = f"{replica.key} on {node.name or node.id} {why}{asleep}"
        self._orders.effects.note_replica(replica, "deployment.swapped", sentence)
        if level is None:
            self._orders.stop(replica, f"it {why}", patience=SWAP_PATIENCE)
        else:
            self._orders.rest(owner, replica, level, f"it {why}", patience=SWAP_PATIENCE)
