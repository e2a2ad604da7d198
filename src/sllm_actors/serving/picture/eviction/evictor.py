"""Whose room a deployment gets that finds none, and when.

Idle replicas go first, by what they are worth (``decisions.eviction``). Where these do not do, and requests
wait for a deployment of which nothing serves, replicas in use are drained for it by turns
(``decisions.swapping``). What is pinned never goes, nor one below the minimum of its deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from math import inf
from typing import Final

from attrs import define, field, frozen

from sllm_actors.serving.decisions.eviction import GreedyDual, Uses, Victim, cheapest
from sllm_actors.serving.decisions.start_cost import StartCosts, Tier
from sllm_actors.serving.decisions.swapping import Contender, Occupant, may_take_at, turn
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.demand import DemandTable, TotalDemand
from sllm_actors.serving.picture.missing import waiting_revision
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import CRASH_LOOP, KnownReplica, Told
from sllm_actors.serving.picture.room.fitting import fits_without
from sllm_actors.serving.picture.room.ledger import whole_capacity
from sllm_actors.serving.picture.room.need import Free, Need, share_of

from .claims import Claims
from .evictable import Evictable, Place

LOOKED_AT: Final = 64
"""How many replicas, or deployments that wait, are looked at for a choice."""

WOKEN: Final = 4
"""How many of those that wait try again when a replica may go."""

LOOK_AGAIN: Final = 0.5
"""Seconds after which one that waits looks again, if it cannot tell when; with many, it is later."""

HOPELESS: Final = -1_000_000
"""The priority of replicas that are ending, or fail again and again: these go before all others."""


@frozen
class Room:
    """Room on a worker that a deployment may have.

    Attributes:
        node: The worker.
        need: The room.
        replicas: What has to go for it; it is ending already, or is to be stopped.
    """

    node: KnownNode
    need: Need
    replicas: tuple[KnownReplica, ...]


@define(eq=False)
class _Known:
    """What is known of a deployment: how it was used, and what of it is in the indices."""

    uses: Uses = field(factory=Uses)
    counted: int = 0
    held_since: float | None = None
    idle: dict[Place, KnownReplica] = field(factory=dict)
    in_use: dict[Place, KnownReplica] = field(factory=dict)


_NOTHING = _Known()  # of a deployment that is not known


class Evictor:
    """Chooses what goes. It orders nothing, and keeps no claims: the planner does.

    Args:
        fleet: The nodes.
        demand: What clients want.
        costs: What starts took.

    Attributes:
        claims: The room that is kept for deployments.
    """

    def __init__(self, fleet: Fleet, demand: DemandTable, costs: StartCosts) -> None:
        self._fleet = fleet
        self._demand = demand
        self._costs = costs
        self._dual = GreedyDual()
        self._known: dict[str, _Known] = {}
        self._idle = Evictable()
        self._in_use = Evictable()
        self._contenders: dict[str, Deployment] = {}
        self._late: set[Place] = set()  # ordered to stop, and not gone in time
        self.claims = Claims(fleet)

    # ---- keeping the indices

    def used(self, uid: str, wanted: TotalDemand, now: float) -> bool:
        """Take what clients want of a deployment now; return whether requests have begun to wait."""
        known = self._known.setdefault(uid, _Known())
        if wanted.uses > known.counted:
            known.uses.add(wanted.uses - known.counted, now)
        known.counted = wanted.uses
        if not wanted.held:
            known.held_since = None
        elif known.held_since is None:
            known.held_since = now
            return True
        return False

    def weigh(self, deployment: Deployment, now: float) -> bool:
        """Bring the indices up to date after a change of a deployment or of its demand.

        Return whether one of its replicas has become idle, or come into use: others may try for its room.
        """
        known = self._known.setdefault(deployment.uid, _Known())
        idle, in_use = self._sorted(deployment)
        before, used_before = known.idle, known.in_use
        for place in known.idle.keys() - idle.keys():
            self._idle.remove(known.idle[place])
        for place in known.in_use.keys() - in_use.keys():
            self._in_use.remove(known.in_use[place])
        for replica in in_use.values():
            self._in_use.put(replica, deployment.spec.priority, replica.ready_at)
        for place, replica in idle.items():
            if place not in before or replica.ordered is Told.STOP:
                self._idle.put(replica, *self._rank(deployment, known, replica, now))
        known.idle, known.in_use = idle, in_use
        return not (idle.keys() <= before.keys() and in_use.keys() <= used_before.keys())

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone, as are all of its replicas."""
        self._known.pop(uid, None)
        self.withdraw(uid)

    def gone(self, replica: KnownReplica) -> None:
        """Take note that a replica is not on its worker any more."""
        known, place = self._known.get(replica.key.uid, _NOTHING), (replica.node, replica.key)
        self._late.discard(place)
        if known.idle.get(place) is replica:
            self._idle.remove(known.idle.pop(place))
        if known.in_use.get(place) is replica:
            self._in_use.remove(known.in_use.pop(place))

    def give_up(self, uid: str) -> None:
        """Keep room for a deployment no longer: what was to go for it is not gone in time."""
        claim = self.claims.drop(uid)
        for replica in claim.going if claim is not None else ():
            node = self._fleet.nodes[replica.node]
            if replica.ordered is Told.STOP and node.replicas.get(replica.key) is replica:
                self.gone(replica)
                self._late.add((replica.node, replica.key))

    def claimants(self, node: str) -> list[str]:
        """Return the uids of the deployments for which room is kept on a worker."""
        known = self._fleet.nodes.get(node)
        return [] if known is None else list(known.claims)

    def contend(self, deployment: Deployment) -> None:
        """Take note that requests wait for a deployment that finds no room."""
        self._contenders[deployment.uid] = deployment

    def withdraw(self, uid: str) -> None:
        """Take note that a deployment looks for no room any more."""
        self._contenders.pop(uid, None)
        self.claims.drop(uid)

    def held_since(self, uid: str) -> float | None:
        """Return since when requests of a deployment wait, on the head's clock; None if none does."""
        known = self._known.get(uid)
        return None if known is None else known.held_since

    def turn_at(self, deployment: Deployment, now: float) -> float | None:
        """Return from when on room in use may be drained for a deployment of which nothing serves.

        None: no request waits for it, or nothing that is in use has the room. It costs as much as a choice.
        """
        if deployment.uid not in self._contenders or not self._demand.of(deployment.id).held:
            return None
        revision, contender = deployment.revisions[deployment.target], self._contender(deployment, now)
        found = [
            self._drained(node, need, contender, deployment, now)
            for node, need in self._places(self._in_use, deployment, revision, now)
        ]
        return min((each[0] for each in found if each is not None), default=None)

    def next_in_turn(self, now: float) -> list[str]:
        """Return the uids of those that wait and should try now, in turn."""
        if not self._contenders:
            return []
        found = [
            (turn(self._contender(each, now), now), uid)
            for uid, each in islice(self._contenders.items(), LOOKED_AT)
        ]
        return [uid for _, uid in sorted(found)[:WOKEN]]

    # ---- choosing

    def may_take(self, deployment: Deployment) -> bool:
        """Return whether others may go for a deployment: for requests, its minimum, or a person's wish.

        While the head doubts what it knows of the workers, nobody goes.
        """
        if self._fleet.doubts_itself:
            return False
        running = len(deployment.running())
        if running < deployment.least:
            return True
        wanted = self._demand.of(deployment.id)
        asked = deployment.asked_for or wanted.held or wanted.in_flight
        return bool(asked) and running < deployment.needed

    def room_of_idle(self, deployment: Deployment, revision: Revision, now: float) -> Room | None:
        """Return the room that idle replicas, and those that are ending, would leave for a deployment."""
        best: tuple[tuple[int, float], Room] | None = None
        for node, need in self._places(self._idle, deployment, revision, now):
            chosen = cheapest(self._candidates(node, deployment, now), self._enough(node, need))
            if chosen is None:
                continue
            price = (
                max((each.priority for each in chosen), default=HOPELESS),
                sum(each.worth for each in chosen),
            )
            if best is None or price < best[0]:
                replicas = tuple(self._idle.at(each.key) for each in chosen)
                best = price, Room(node, need, replicas)
        return None if best is None else best[1]

    def room_in_use(
        self, deployment: Deployment, revision: Revision, now: float
    ) -> tuple[float, Room | None]:
        """Return when a deployment may take room that is in use, and what, if it is now.

        Until it may, the time is when to ask again; it is infinite where no request waits for all of it.
        """
        if not self._demand.of(deployment.id).held or any(each.serves for each in deployment.running()):
            return inf, None
        contender = self._contender(deployment, now)
        first: tuple[float, Room] | None = None
        for node, need in self._places(self._in_use, deployment, revision, now):
            found = self._drained(node, need, contender, deployment, now)
            if found is not None and (first is None or found[0] < first[0]):
                first = found
        if first is None:
            return self.again(now), None
        when, room = first
        return (when, None) if when > now else (now, room)

    def before(self, deployment: Deployment, room: Room, now: float) -> str | None:
        """Return the uid of the deployment that comes first of those that may have room before another one.

        Return None if none may: it is that one's turn.
        """
        mine = turn(self._contender(deployment, now), now)
        first: tuple[tuple[float, ...], str] | None = None
        occupants = [
            Occupant(each.ready_at, self._priority(each)) for each in room.replicas if not self.is_idle(each)
        ]
        for other in islice(self._contenders.values(), LOOKED_AT):
            contender = self._contender(other, now)
            its = turn(contender, now)
            if its >= mine or other is deployment or (first is not None and its >= first[0]):
                continue
            if all(may_take_at(contender, each) <= now for each in occupants) and self._fits(
                other, room, now
            ):
                first = its, other.uid
        return None if first is None else first[1]

    def again(self, now: float) -> float:
        """Return when one that waits looks again, if it cannot tell when it may have room."""
        return now + max(LOOK_AGAIN, len(self._contenders) / LOOKED_AT)

    def is_idle(self, replica: KnownReplica) -> bool:
        """Return whether a replica may go as an idle one; else it is in use."""
        return replica in self._idle

    def evicted(self, replica: KnownReplica) -> None:
        """Take note that an idle replica goes for another deployment."""
        self._dual.evicted(self._idle.worth(replica))

    # ---- inside

    def _sorted(self, deployment: Deployment) -> tuple[dict[Place, KnownReplica], dict[Place, KnownReplica]]:
        """Return the replicas of a deployment that are idle, and those that are in use."""
        idle: dict[Place, KnownReplica] = {}
        in_use: dict[Place, KnownReplica] = {}
        spec = deployment.spec
        if spec.endpoints or (spec.pinned and not deployment.deleting):
            return idle, in_use
        running = sorted(deployment.running(), key=lambda each: each.distance)
        for count, replica in enumerate(running, start=1):
            place = (replica.node, replica.key)
            if count > deployment.needed or replica.failures >= CRASH_LOOP:
                idle[place] = replica
            elif count > deployment.least and replica.serves:
                in_use[place] = replica
        for replica in deployment.replicas.values():
            if replica.ordered is Told.STOP and (replica.node, replica.key) not in self._late:
                idle[replica.node, replica.key] = replica
        return idle, in_use

    def _rank(
        self, deployment: Deployment, known: _Known, replica: KnownReplica, now: float
    ) -> tuple[int, float]:
        if replica.ordered is Told.STOP or replica.failures >= CRASH_LOOP:
            return HOPELESS, float(replica.ordered is not Told.STOP)
        revision = deployment.revisions[replica.key.revision]
        share = share_of(replica.need, self._capacity(replica.node))
        cost = self._cost(revision)
        return deployment.spec.priority, self._dual.worth(uses=known.uses.at(now), cost=cost, share=share)

    def _capacity(self, node: str) -> Free:
        inventory = self._fleet.nodes[node].inventory
        return Free() if inventory is None else whole_capacity(inventory)

    def _cost(self, revision: Revision) -> float:
        """Return how many seconds a start of a revision takes, as measured of it, or else of any engine."""
        known = self._costs.known(revision.fingerprint, Tier.STOPPED)
        return self._costs.typical if known is None else known

    def _contender(self, deployment: Deployment, now: float) -> Contender:
        known = self._known.get(deployment.uid)
        since = now if known is None or known.held_since is None else known.held_since
        revision = waiting_revision(deployment)
        held = self._demand.of(deployment.id).held
        return Contender(since, held, deployment.spec.priority, self._cost(revision))

    def _fits(self, deployment: Deployment, room: Room, now: float) -> bool:
        """Return whether a deployment that waits could have room that is made for another one."""
        revision = waiting_revision(deployment)
        selector = revision.spec.node_selector
        if not room.node.admits(deployment.uid, revision.number, selector, now):
            return False
        return fits_without(room.node, deployment.need(revision, room.node.gpus), room.replicas)

    def _priority(self, replica: KnownReplica) -> int:
        place = (replica.node, replica.key)
        index = self._in_use if replica in self._in_use else self._idle
        return index.priority(place)

    def _places(
        self, index: Evictable, deployment: Deployment, revision: Revision, now: float
    ) -> list[tuple[KnownNode, Need]]:
        """Return workers of an index that may have a replica, and what it would take there."""
        places = []
        for name in index.nodes(LOOKED_AT):
            node = self._fleet.nodes[name]
            if node.takes_replicas and node.admits(
                deployment.uid, revision.number, revision.spec.node_selector, now
            ):
                places.append((node, deployment.need(revision, node.gpus)))
        return places

    def _candidates(self, node: KnownNode, deployment: Deployment, now: float) -> list[Victim[Place]]:
        claimed = {each for claim in node.claims.values() for each in claim.going}
        return [
            each
            for each in self._idle.on(node.id)
            if each.key[1].uid != deployment.uid
            and (replica := self._idle.at(each.key)) not in claimed
            and replica.busy_until <= now
        ]

    def _enough(self, node: KnownNode, need: Need) -> Callable[[Sequence[Place]], bool]:
        return lambda places: fits_without(node, need, [self._idle.at(each) for each in places])

    def _drained(
        self, node: KnownNode, need: Need, contender: Contender, deployment: Deployment, now: float
    ) -> tuple[float, Room] | None:
        """Return when a worker could give room, and which replicas would be drained, idle ones with them."""
        claimed = {each for claim in node.claims.values() for each in claim.going}
        timed: list[tuple[float, KnownReplica]] = [
            (-inf, self._idle.at(each.key)) for each in self._candidates(node, deployment, now)
        ]
        for each in self._in_use.on(node.id):
            replica = self._in_use.at(each.key)
            if replica not in claimed and replica.key.uid != deployment.uid:
                timed.append((may_take_at(contender, Occupant(replica.ready_at, each.priority)), replica))
        timed.sort(key=lambda each: (each[0], each[1].key))
        chosen: list[KnownReplica] = []
        for when, replica in timed:
            chosen.append(replica)
            if fits_without(node, need, chosen):
                return when, Room(node, need, tuple(self._needed(node, need, chosen)))
        return None

    def _needed(self, node: KnownNode, need: Need, chosen: list[KnownReplica]) -> list[KnownReplica]:
        kept = list(chosen)
        for replica in chosen:
            without = [each for each in kept if each is not replica]
            if fits_without(node, need, without):
                kept = without
        return kept
