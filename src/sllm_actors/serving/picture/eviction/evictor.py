"""Which replicas make way for a deployment that finds no room, and when.

Idle replicas go first, by what they are worth (``decisions.eviction``). Where these are not enough, and
requests wait for a deployment of which nothing serves, replicas in use are drained for it by turns
(``decisions.swapping``). A pinned replica never goes, nor one that its deployment's minimum needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from attrs import frozen

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.eviction import Victim, cheapest
from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.decisions.swapping import RETURN, Contender, Occupant, may_take_at
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.demand import DemandTable
from sllm_actors.serving.picture.missing import waiting_revision
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica, Told
from sllm_actors.serving.picture.room.claim import Demotion
from sllm_actors.serving.picture.room.fitting import fits_after
from sllm_actors.serving.picture.room.need import Need

from .candidates import HOPELESS, Candidates
from .claims import Claims
from .contenders import LOOK_AGAIN, Contenders
from .evictable import Evictable, Place

LOOKED_AT: Final = 64
"""How many workers are looked at for a choice."""


@frozen
class Room:
    """Room on a worker that a deployment may have.

    Attributes:
        node: The worker.
        need: The room.
        going: What becomes of the replicas that make way for it; some may be ending already.
        wakes: The replica that is to wake in it; None: a new one starts.
    """

    node: KnownNode
    need: Need
    going: tuple[Demotion, ...]
    wakes: KnownReplica | None = None


class Evictor:
    """Chooses which replicas go. It orders nothing, and claims no room: ``making_room`` does.

    Args:
        fleet: The nodes.
        demand: What clients want.
        costs: What starts and wakes took.

    Attributes:
        candidates: What may make way.
        contenders: Who waits for room.
        claims: The room that is kept for deployments.
    """

    def __init__(self, fleet: Fleet, demand: DemandTable, costs: StartCosts) -> None:
        self._fleet = fleet
        self._demand = demand
        self.candidates = Candidates(fleet, costs)
        self.contenders = Contenders(self.candidates, demand, costs)
        self.claims = Claims(fleet)

    # ---- who gets room

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone, as are all of its replicas."""
        self.candidates.forget(uid)
        self.withdraw(uid)

    def give_up(self, uid: str, now: float) -> None:
        """Keep room for a deployment no longer: what was to make way for it has not done so in time."""
        claim = self.claims.drop(uid)
        for going in claim.going if claim is not None else ():
            replica = going.replica
            slow = claim is not None and now >= claim.until and not replica.is_asleep
            if (replica.ordered is Told.STOP or slow) and self._is_there(replica):
                self.candidates.late(replica)

    def _is_there(self, replica: KnownReplica) -> bool:
        return self._fleet.nodes[replica.node].replicas.get(replica.key) is replica

    def claimants(self, node: str) -> list[str]:
        """Return the uids of the deployments for which room is kept on a worker."""
        known = self._fleet.nodes.get(node)
        return [] if known is None else list(known.claims)

    def withdraw(self, uid: str) -> None:
        """Take note that a deployment looks for no room any more."""
        self.contenders.drop(uid)
        self.claims.drop(uid)

    def turn_at(self, deployment: Deployment, now: float) -> float | None:
        """Return from when on room in use may be drained for a deployment of which nothing serves.

        None: no request waits for it, or nothing that is in use has the room. It costs as much as a choice.
        """
        if deployment.uid not in self.contenders or not self._demand.of(deployment.id).held:
            return None
        revision = deployment.revisions[deployment.target]
        contender = self.contenders.weighed(deployment, now)
        wakes = self.contenders.waking(deployment.uid)
        found = [
            self._drained(node, need, contender, deployment, now, wakes)
            for node, need in self._places(self.candidates.in_use, deployment, revision, now, wakes)
        ]
        return min((each[0] for each in found if each is not None), default=None)

    # ---- choosing

    def may_take(self, deployment: Deployment) -> bool:
        """Return whether others may go for a deployment: for requests, its minimum, or a person's wish.

        For a further replica they go only if it is worth more than one start: see ``decisions.scaling``.
        While the head doubts what it knows of the workers, nobody goes.
        """
        if self._fleet.doubts_itself:
            return False
        running = sum(replica.sleep is None for replica in deployment.running())
        if running < deployment.least:
            return True
        wanted = self._demand.of(deployment.id)
        asked = deployment.asked_for or wanted.held or wanted.in_flight
        return bool(asked) and running < min(deployment.needed, deployment.pressing)

    def room_of_idle(
        self, deployment: Deployment, revision: Revision, now: float, wakes: KnownReplica | None = None
    ) -> Room | None:
        """Return the room that idle replicas, and those that are ending, would leave for a deployment.

        Args:
            deployment: It finds no room.
            revision: Of which its new replica would be.
            now: Seconds on the head's clock.
            wakes: A replica that is to wake where it is, instead of a new one.
        """
        best: tuple[tuple[int, float], Room] | None = None
        for node, need in self._places(self.candidates.idle, deployment, revision, now, wakes):
            found = self._cheapest(node, need, deployment, now, wakes)
            if found is not None and (best is None or found[0] < best[0]):
                best = found[0], Room(node, need, found[1], wakes)
        return None if best is None else best[1]

    def room_soon_idle(
        self, deployment: Deployment, revision: Revision, now: float, wakes: KnownReplica | None = None
    ) -> float:
        """Return when a deployment may have room of replicas that are idle, but left alone for a moment.

        It is infinite where such replicas are not what is in its way. For the arguments see ``room_of_idle``.
        """
        room = self.room_of_idle(deployment, revision, now + RETURN, wakes)
        going = () if room is None else room.going
        soon = max((self._goes_at(each.replica, deployment, now) for each in going), default=inf)
        return soon if soon > now else inf

    def room_in_use(
        self, deployment: Deployment, revision: Revision, now: float, wakes: KnownReplica | None = None
    ) -> tuple[float, Room | None]:
        """Return when a deployment may take room that is in use, and what, if it is now.

        Until it may, the time is when to ask again; it is infinite where no request waits for all of it.
        For the arguments see ``room_of_idle``.
        """
        serving = any(each.serves and each.sleep is None for each in deployment.running())
        if not self._demand.of(deployment.id).held or serving:
            return inf, None
        contender = self.contenders.weighed(deployment, now)
        first: tuple[float, Room] | None = None
        for node, need in self._places(self.candidates.in_use, deployment, revision, now, wakes):
            found = self._drained(node, need, contender, deployment, now, wakes)
            if found is not None and (first is None or found[0] < first[0]):
                first = found
        if first is None:
            return self.contenders.again(now), None
        when, room = first
        return (when, None) if when > now else (now, room)

    def may_soon_make_way(self, node: str, deployment: Deployment, now: float) -> bool:
        """Return whether something on a worker may make way for a deployment soon, and does not now.

        It has declined to do so just now, since it was busy; or its last request has just ended; or it starts
        or wakes, or has just done so, and its deployment was not looked at since; or room is made for it.
        """
        idle, known = self.candidates.idle, self._fleet.nodes[node]
        resting = [idle.at(each.key) for each in idle.on(node)]
        if known.claims or any(self._goes_at(each, deployment, now) > now for each in resting):
            return True
        return any(
            each.is_waking or not each.serves or now < each.ready_at + LOOK_AGAIN
            for each in known.replicas.values()
            if each.ordered is Told.RUN and each.sleep is None
        )

    def before(self, deployment: Deployment, room: Room, now: float) -> str | None:
        """Return the uid of the deployment that may have this room, and whose turn is before all others.

        None: it is the turn of ``deployment``, for which the room was found.
        """
        occupants = [
            Occupant(each.replica.ready_at, self._priority(each.replica))
            for each in room.going
            if not self.candidates.is_idle(each.replica)
        ]
        for other, contender in self.contenders.before(deployment, now):
            may_take = all(may_take_at(contender, each) <= now for each in occupants)
            if may_take and self._fits(other, room, now):
                return other.uid
        return None

    # ---- inside

    def _fits(self, deployment: Deployment, room: Room, now: float) -> bool:
        """Return whether a deployment that waits could have room that is made for another one."""
        revision, wakes = waiting_revision(deployment), self.contenders.waking(deployment.uid)
        if wakes is not None:
            return wakes.node == room.node.id and fits_after(room.node, wakes.need, room.going, wakes)
        selector = revision.spec.node_selector
        if not room.node.admits(deployment.uid, revision.number, selector, now):
            return False
        return fits_after(room.node, deployment.need(revision, room.node.gpus), room.going)

    def _priority(self, replica: KnownReplica) -> int:
        index = self.candidates.in_use if replica in self.candidates.in_use else self.candidates.idle
        return index.priority((replica.node, replica.key))

    def _places(
        self,
        index: Evictable,
        deployment: Deployment,
        revision: Revision,
        now: float,
        wakes: KnownReplica | None,
    ) -> list[tuple[KnownNode, Need]]:
        """Return workers of an index that may have a replica, and what it would take there."""
        if wakes is not None:
            node = self._fleet.nodes[wakes.node]
            return [(node, wakes.need)] if node.takes_replicas else []
        places = []
        for name in index.nodes(LOOKED_AT):
            node = self._fleet.nodes[name]
            if node.takes_replicas and node.admits(
                deployment.uid, revision.number, revision.spec.node_selector, now
            ):
                places.append((node, deployment.need(revision, node.gpus)))
        return places

    def _free_to_go(
        self, node: KnownNode, deployment: Deployment, now: float, *, stopped: bool = False
    ) -> list[Victim[Place]]:
        idle = self.candidates.idle
        claimed = {each.replica for claim in node.claims.values() for each in claim.going}
        return [
            each
            for each in idle.on(node.id, stopped=stopped)
            if each.key[1].uid != deployment.uid
            and (replica := idle.at(each.key)) not in claimed
            and self._goes_at(replica, deployment, now) <= now
        ]

    def _goes_at(self, replica: KnownReplica, deployment: Deployment, now: float) -> float:
        """Return from when on an idle replica goes for a deployment, on the head's clock."""
        rested_at = self.candidates.rested_at(replica.key.uid)
        if not now - RETURN < rested_at < inf or replica.state is not ReplicaState.READY:
            return replica.busy_until
        occupant = Occupant(replica.ready_at, self._priority(replica), rested_at)
        return max(replica.busy_until, may_take_at(self.contenders.weighed(deployment, now), occupant))

    def _cheapest(
        self, node: KnownNode, need: Need, deployment: Deployment, now: float, wakes: KnownReplica | None
    ) -> tuple[tuple[int, float], tuple[Demotion, ...]] | None:
        """Return what the cheapest choice of a worker's idle replicas is worth, and what becomes of them.

        If it is enough that all that can do so fall asleep, none of these is stopped.
        """
        idle, going = self.candidates.idle, self._free_to_go(node, deployment, now)

        def enough(places: Sequence[Place]) -> bool:
            soft = [self.candidates.softest(idle.at(each)) for each in places]
            return fits_after(node, need, soft, wakes)

        def enough_stopped(places: Sequence[Place]) -> bool:
            return fits_after(node, need, [Demotion(idle.at(each)) for each in places], wakes)

        chosen = cheapest(going, enough)
        if chosen is not None:
            return _price(chosen), tuple(self.candidates.softest(idle.at(each.key)) for each in chosen)
        chosen = cheapest(self._free_to_go(node, deployment, now, stopped=True), enough_stopped)
        if chosen is None:
            return None
        stopped = [Demotion(idle.at(each.key)) for each in chosen]
        return _price(chosen), tuple(self._softened(node, need, stopped, wakes))

    def _softened(
        self, node: KnownNode, need: Need, going: list[Demotion], wakes: KnownReplica | None
    ) -> list[Demotion]:
        """Let those sleep instead of being stopped of which that is enough."""
        soft = list(going)
        for number, each in enumerate(going):
            soft[number] = self.candidates.softest(each.replica)
            if not fits_after(node, need, soft, wakes):
                soft[number] = each
        return soft

    def _drained(
        self,
        node: KnownNode,
        need: Need,
        contender: Contender,
        deployment: Deployment,
        now: float,
        wakes: KnownReplica | None,
    ) -> tuple[float, Room] | None:
        """Return when a worker could give room, and which replicas would be drained, idle ones with them."""
        idle, in_use = self.candidates.idle, self.candidates.in_use
        claimed = {each.replica for claim in node.claims.values() for each in claim.going}
        timed: list[tuple[float, KnownReplica]] = [
            (-inf, idle.at(each.key)) for each in self._free_to_go(node, deployment, now)
        ]
        for each in in_use.on(node.id):
            replica = in_use.at(each.key)
            if replica not in claimed and replica.key.uid != deployment.uid:
                timed.append((may_take_at(contender, Occupant(replica.ready_at, each.priority)), replica))
        timed.sort(key=lambda each: (each[0], each[1].key))
        chosen: list[Demotion] = []
        for when, replica in timed:
            chosen.append(Demotion(replica))
            if fits_after(node, need, chosen, wakes):
                going = self._softened(node, need, _needed(node, need, chosen, wakes), wakes)
                return when, Room(node, need, tuple(going), wakes)
        return None


def _needed(
    node: KnownNode, need: Need, chosen: list[Demotion], wakes: KnownReplica | None
) -> list[Demotion]:
    kept = list(chosen)
    for demotion in chosen:
        without = [each for each in kept if each is not demotion]
        if fits_after(node, need, without, wakes):
            kept = without
    return kept


def _price(chosen: Sequence[Victim[Place]]) -> tuple[int, float]:
    return max((each.priority for each in chosen), default=HOPELESS), sum(each.worth for each in chosen)
