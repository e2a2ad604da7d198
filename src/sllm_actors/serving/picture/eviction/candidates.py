"""Which replicas may make way for others, and what they are worth: idle ones, and those in use."""

from __future__ import annotations

from math import inf
from typing import Final

from attrs import define, field

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.eviction import GreedyDual, Uses
from sllm_actors.serving.decisions.start_cost import StartCosts, Tier
from sllm_actors.serving.decisions.tiers import next_down
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.indices.demand import TotalDemand
from sllm_actors.serving.picture.replica import CRASH_LOOP, KnownReplica, Told
from sllm_actors.serving.picture.room.claim import Demotion
from sllm_actors.serving.picture.room.ledger import whole_capacity
from sllm_actors.serving.picture.room.need import Free, share_of
from sllm_actors.serving.picture.tiers.resting import level_of, memory_is_short, policy_of, sleeper

from .evictable import Evictable, Place

HOPELESS: Final = -1_000_000
"""The priority of replicas that are ending, or fail again and again: these go before all others."""

KEPT_ASLEEP: Final = 2**29
"""Bytes of each GPU that an engine is taken to keep as it sleeps, until it was seen to sleep."""


@define(eq=False)
class _Known:
    """What is known of a deployment: how it was used, and what of it is in the indices.

    ``rested_at``: when its last request ended; infinite while it has one.
    ``kept``: by level, the bytes of each GPU that an engine of it kept when it slept last.
    ``deployment``: itself, once it was weighed.
    """

    uses: Uses = field(factory=Uses)
    counted: int = 0
    held_since: float | None = None
    rested_at: float = -inf
    idle: dict[Place, KnownReplica] = field(factory=dict)
    in_use: dict[Place, KnownReplica] = field(factory=dict)
    kept: dict[int, int] = field(factory=dict)
    deployment: Deployment | None = None


_NOTHING = _Known()  # of a deployment that is not known


class Candidates:
    """The replicas that may make way. A change of a deployment costs what it has of them.

    Args:
        fleet: The nodes.
        costs: What starts and wakes took.

    Attributes:
        idle: Those that are idle, and those that are ending.
        in_use: Those in use.
    """

    def __init__(self, fleet: Fleet, costs: StartCosts) -> None:
        self._fleet = fleet
        self._costs = costs
        self._dual = GreedyDual()
        self._known: dict[str, _Known] = {}
        self._late: set[Place] = set()  # ordered to stop, and not gone in time
        self.idle = Evictable()
        self.in_use = Evictable()

    def used(self, uid: str, wanted: TotalDemand, now: float) -> bool:
        """Take what clients want of a deployment now; return whether requests have begun to wait."""
        known = self._of(uid)
        if wanted.uses > known.counted:
            known.uses.add(wanted.uses - known.counted, now)
        known.counted = wanted.uses
        if wanted.held or wanted.in_flight:
            known.rested_at = inf
        elif known.rested_at == inf:
            known.rested_at = now
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
        known = self._of(deployment.uid)
        known.deployment = deployment
        self._learn(deployment, known)
        idle, in_use = self._sorted(deployment)
        before, used_before = known.idle, known.in_use
        if not (idle or in_use or before or used_before):
            return False
        for place in known.idle.keys() - idle.keys():
            self.idle.remove(known.idle[place])
        for place in known.in_use.keys() - in_use.keys():
            self.in_use.remove(known.in_use[place])
        for replica in in_use.values():
            self.in_use.put(replica, deployment.spec.priority, replica.ready_at)
        for place, replica in idle.items():
            demotion = self._softest(deployment, known, replica)
            if (
                place not in before
                or replica.ordered is Told.STOP
                or demotion.level != self.idle.softest(place).level
            ):
                self._rank(deployment, known, replica, demotion, now)
        known.idle, known.in_use = idle, in_use
        return not (idle.keys() <= before.keys() and in_use.keys() <= used_before.keys())

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone, as are all of its replicas."""
        self._known.pop(uid, None)

    def gone(self, replica: KnownReplica) -> None:
        """Take note that a replica is not on its worker any more."""
        known, place = self._known.get(replica.key.uid, _NOTHING), (replica.node, replica.key)
        self._late.discard(place)
        if known.idle.get(place) is replica:
            self.idle.remove(known.idle.pop(place))
        if known.in_use.get(place) is replica:
            self.in_use.remove(known.in_use.pop(place))

    def late(self, replica: KnownReplica) -> None:
        """Take note that a replica was ordered to make way, and has not done so in time.

        Nobody waits any more for one that was to stop; one that was to sleep is to stop next.
        """
        if replica.ordered is Told.STOP:
            self.gone(replica)
        self._late.add((replica.node, replica.key))

    def held_since(self, uid: str) -> float | None:
        """Return since when requests of a deployment wait, on the head's clock; None if none does."""
        known = self._known.get(uid)
        return None if known is None else known.held_since

    def rested_at(self, uid: str) -> float:
        """Return when the last request of a deployment ended, on the head's clock; infinite while it has one.

        Negatively infinite: it had none.
        """
        return self._known.get(uid, _NOTHING).rested_at

    def is_idle(self, replica: KnownReplica) -> bool:
        """Return whether a replica may go as an idle one; else it is in use."""
        return replica in self.idle

    def softest(self, replica: KnownReplica) -> Demotion:
        """Return what becomes first of a replica that makes way, idle or in use."""
        place = (replica.node, replica.key)
        if replica.is_asleep or place in self._late:
            return Demotion(replica)
        if replica in self.idle:
            return self.idle.softest(place)
        known = self._known[replica.key.uid]
        assert known.deployment is not None  # it was weighed, or else nothing of it is in use
        return self._softest(known.deployment, known, replica)

    def evicted(self, replica: KnownReplica) -> None:
        """Take note that an idle replica goes for another deployment."""
        self._dual.evicted(self.idle.worth(replica))

    # ---- inside

    def _of(self, uid: str) -> _Known:
        known = self._known.get(uid)
        if known is None:
            known = self._known[uid] = _Known()
        return known

    def _sorted(self, deployment: Deployment) -> tuple[dict[Place, KnownReplica], dict[Place, KnownReplica]]:
        """Return the replicas of a deployment that are idle, and those that are in use."""
        idle: dict[Place, KnownReplica] = {}
        in_use: dict[Place, KnownReplica] = {}
        spec = deployment.spec
        if spec.endpoints or (spec.pinned and not deployment.deleting):
            return idle, in_use
        running: list[KnownReplica] = []
        for replica in deployment.replicas.values():
            if replica.ordered is Told.STOP:
                if (replica.node, replica.key) not in self._late:
                    idle[replica.node, replica.key] = replica
            elif replica.ordered is Told.RUN and not replica.replaced:
                running.append(replica)
        needed, least = deployment.needed, deployment.least
        if len(running) > min(needed, least):
            running.sort(key=lambda each: each.distance)
        for count, replica in enumerate(running, start=1):
            if count > needed or replica.failures >= CRASH_LOOP:
                idle[replica.node, replica.key] = replica
            elif count > least and replica.serves and not replica.is_waking:
                in_use[replica.node, replica.key] = replica
        return idle, in_use

    def _rank(
        self, deployment: Deployment, known: _Known, replica: KnownReplica, demotion: Demotion, now: float
    ) -> None:
        if replica.ordered is Told.STOP or replica.failures >= CRASH_LOOP:
            self.idle.put(replica, HOPELESS, float(replica.ordered is not Told.STOP))
            return
        revision = deployment.revisions[replica.key.revision]
        uses, capacity = known.uses.at(now), self._capacity(replica.node)
        share = share_of(replica.need, capacity)
        stopped = self._dual.worth(uses=uses, cost=self.cost(revision), share=share)
        asleep = stopped
        if demotion.level is not None:
            step = next_down(Tier.READY, sleeper(replica, deployment), policy_of(deployment), self._costs)
            asleep = self._dual.worth(uses=uses, cost=step.cost, share=share)
        self.idle.put(replica, deployment.spec.priority, asleep, stopped, demotion)

    def _softest(self, deployment: Deployment, known: _Known, replica: KnownReplica) -> Demotion:
        """Return what becomes of a replica first that is to make way: asleep, where that frees its GPUs."""
        report = replica.report
        if report is None or not report.devices or replica.ordered is not Told.RUN or replica.is_asleep:
            return Demotion(replica)
        if replica.sleep is not None and (replica.node, replica.key) not in self._late:
            return Demotion(replica, replica.sleep, known.kept.get(replica.sleep, KEPT_ASLEEP))
        if replica.sleep is not None or replica.state is not ReplicaState.READY:
            return Demotion(replica)
        short = memory_is_short(self._fleet, replica, deployment)
        level = level_of(replica, deployment, self._costs, memory_is_short=short)
        if not level:
            return Demotion(replica)
        return Demotion(replica, level, known.kept.get(level, KEPT_ASLEEP))

    def _capacity(self, node: str) -> Free:
        inventory = self._fleet.nodes[node].inventory
        return Free() if inventory is None else whole_capacity(inventory)

    def cost(self, revision: Revision) -> float:
        """Return how many seconds a start of a revision takes, as measured of it, or else of any engine."""
        known = self._costs.known(revision.fingerprint, Tier.STOPPED)
        return self._costs.typical if known is None else known

    def _learn(self, deployment: Deployment, known: _Known) -> None:
        """Take note of what engines keep of their GPUs as they sleep."""
        for replica in deployment.replicas.values():
            if replica.is_asleep and replica.report is not None and replica.report.level:
                known.kept[replica.report.level] = replica.report.gpu_reserved
            if self._late and (replica.is_asleep or (replica.sleep is None and replica.ordered is Told.RUN)):
                self._late.discard((replica.node, replica.key))
