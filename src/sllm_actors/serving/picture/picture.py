"""The picture of the cluster: events in, effects out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.messages import WorkerAddress
from sllm_actors.serving.store.records import (
    DropDeletion,
    DropNode,
    MeasuredRecord,
    NodeRecord,
    PutMeasured,
    PutNode,
    RemoveDeployment,
    StoredState,
)

from .asked import Asked, change
from .catalogue import Catalogue
from .deployment import Deployment, Revision
from .deployment_state import StateCounts
from .effects import Effects
from .events import (
    DemandReported,
    DeploymentAdded,
    DocumentRead,
    DrainSet,
    Event,
    InventoryReported,
    NodeLost,
    NodeUp,
    ReplicasReported,
    TimePassed,
)
from .fleet import GRACE, WORKER, Fleet
from .indices.demand import DemandTable
from .indices.timers import Timers
from .node import KnownNode, Link
from .planner import Planner
from .recovery import Recovery
from .replica import KnownReplica, Told
from .scaling import look, scale
from .settling import SETTLE_TIME, Settling
from .tiers.measuring import expect, known_costs, learn

FORGETTING = 3600.0
"""Seconds between two looks at deletions that are old enough, but may not be forgotten yet."""

_WOKEN = (ReplicaState.ASLEEP, ReplicaState.READY)

BATCH = 16
"""How many deployments are planned in one step at most: the actor takes other messages in between."""


class Picture:
    """The state of the cluster, and what follows from each event.

    After its start it orders nothing until ``settling`` is over. What is deployed meanwhile does not wait:
    nothing of it can be running.

    An event costs what it touches. Of several events that come together, each deployment that they touch is
    planned once.

    Args:
        state: What the store held.
        now: Seconds on the head's clock; the same clock as in ``step``.
        wall: Seconds since the epoch at that time.
        settle_time: See ``Settling``.
        grace: See ``GRACE``.

    Attributes:
        fleet: The nodes.
        catalogue: The deployments.
        states: How many deployments are in which state.
        planner: What is decided for each deployment.
        demand: What clients want of the deployments.
        costs: What starts and wakes of replicas have taken.
        settling: What is waited for before orders are given for what was deployed before the start.
    """

    def __init__(
        self,
        state: StoredState,
        *,
        now: float,
        wall: float,
        settle_time: float = SETTLE_TIME,
        grace: float = GRACE,
    ) -> None:
        self.fleet = Fleet(grace)
        self.catalogue = Catalogue(state)
        self.states = StateCounts()
        self.demand = DemandTable()
        self.costs = StartCosts(known_costs(state.measured))
        self.planner = Planner(self.fleet, self.catalogue, self.demand, self.costs)
        self.settling = Settling(state, now, settle_time)
        self._recovery = Recovery(self.fleet, self.catalogue, self.planner, settle_time)
        self._skew = wall - now
        self._dirty: dict[str, None] = {}
        self._unsettled = dict.fromkeys(self.catalogue.by_uid)  # not to be planned yet
        self._timers = Timers()
        self._held: set[str] = set()
        self._forget_at = now
        for record in state.nodes:
            heard = record.last_seen - self._skew
            node = KnownNode(
                record.id, record.role, now, name=record.name, draining=record.draining, heard=heard
            )
            self.fleet.expect(node)
        for displaced in self.catalogue.displaced:
            self.planner.effects.writes.append(RemoveDeployment(displaced.uid, wall))
        for deployment in self.catalogue.by_uid.values():  # gateways go on with what was deployed before
            deployment.wanted, deployment.settled = max(1, deployment.wanted), False
            self.planner.publish(deployment)
            self.states.put(deployment)
        self._settle_if_due(now)

    # ---- events

    def step(self, event: Event, now: float) -> Effects:
        """Take an event, plan what it touches, and return the effects. ``more`` tells if that was all."""
        self.take(event, now)
        self.plan(now)
        return self.effects()

    def take(self, event: Event, now: float) -> None:
        """Take an event without planning: several that come together are planned together."""
        match event:
            case ReplicasReported():
                self._replicas(event, now)
            case InventoryReported():
                self._inventory(event, now)
            case DemandReported(gateway, put, removed):
                names = self.demand.report(gateway, put, removed, now)
                self._heed(names.union(removed), now)
            case NodeUp(node, role, host, incarnation):
                known = self.fleet.link_up(node, role, host, incarnation, now)
                if known is not None:
                    self._linked(known, now)
            case NodeLost(node, incarnation, reason):
                if (gone := self.fleet.link_lost(node, incarnation, reason, now)) is not None:
                    self.demand.lost(node)
                    self._dirty.update(dict.fromkeys(self.planner.evictor.claimants(node)))
                    self.planner.effects.note_node(gone, "node.lost", f"is not linked: {reason}")
                    self._forget_nodes()
            case DeploymentAdded(record, revision):
                first = Revision.of(revision)
                added = Deployment.of(record, {first.number: first})
                added.next_number = 0  # none was given out yet
                self._added(added)
            case DrainSet(node, draining):
                self._drain(node, draining=draining, now=now)
            case DocumentRead(uid, revision_number, document):
                self._recovery.learn(uid, revision_number, document)
            case TimePassed():
                pass
            case _:
                assert isinstance(event, get_args(Asked))
                if (changed := self.catalogue.by_uid.get(event.uid)) is not None:
                    change(changed, event, self.catalogue, self.planner, now)
                    self._mark(changed)
        self._pass_time(now)

    @property
    def more(self) -> bool:
        """Whether deployments are still to be planned: call ``plan`` again."""
        return bool(self._dirty)

    def plan(self, now: float, limit: int = BATCH) -> None:
        """Plan at most ``limit`` of the deployments that events have touched."""
        wall = self.wall(now)
        while self._dirty and limit > 0:
            limit -= 1
            uid = next(iter(self._dirty))
            del self._dirty[uid]
            deployment = self.catalogue.by_uid.get(uid)
            if deployment is None or deployment.id in self._held:
                continue
            self._recovery.mind_rivals(deployment, now)
            scale(deployment, self.demand.of(deployment.id), self.planner.effects, now, wall)
            self.planner.plan(deployment, now, wall)
            self._timers.set(uid, deployment.next_due)
            self._count(deployment)
            self._weigh(deployment, now)
            for touched in self.planner.room.touched:
                self._mark(self.catalogue.by_uid[touched])
            self.planner.room.touched.clear()

    def is_planned(self, deployment: Deployment) -> bool:
        """Return whether all that has happened to a deployment has been decided about."""
        uid = deployment.uid
        return not (uid in self._dirty or uid in self._unsettled or deployment.id in self._held)

    def undecided(self, name: str, now: float) -> float:
        """Return in how many seconds it is known whether there is a deployment with that id; 0: it is known.

        The store may have been lost: then workers run what it does not know, and that is taken back.
        """
        if name in self.catalogue.by_id:
            return 0.0
        blank = self.settling.blank_until(strangers=self._recovery.due() is not None)
        return max(0.0, self._recovery.decides_at(name) - now, blank - now)

    def hold(self, subject: str) -> bool:
        """Let nothing be decided about a deployment id or node while a change of it is written to the store.

        So what was decided before is never written after the change. Return False if it is held already.
        """
        if subject in self._held:
            return False
        self._held.add(subject)
        return True

    def release(self, subject: str) -> None:
        """Decide again about what was held."""
        self._held.discard(subject)
        if (deployment := self.catalogue.by_id.get(subject)) is not None:
            self._mark(deployment)

    def effects(self) -> Effects:
        """Return what has followed since the last call."""
        effects, self.planner.effects = self.planner.effects, Effects()
        return effects

    def wall(self, when: float) -> float:
        """Return a time of the head's clock in seconds since the epoch."""
        return when + self._skew

    def due(self) -> float | None:
        """Return when something happens without an event, in seconds on the head's clock, or None."""
        times = [self.fleet.due(), self._timers.due(), self.settling.due(), self._forget_due()]
        times.append(self.demand.due())
        if self.settling.over:
            times.append(self._recovery.due())
        return min((each for each in times if each is not None), default=None)

    # ---- time

    def _pass_time(self, now: float) -> None:
        for node in self.fleet.expired(now):
            self._give_up(node)
        self._heed(self.demand.expire(now), now)
        for uid in self._timers.pop(now):
            self._mark(self.catalogue.by_uid[uid])
        self._settle_if_due(now)
        if self.settling.over and (due := self._recovery.due()) is not None and due <= now:
            for deployment in self._recovery.decide(now, self.wall(now), self._held):
                self._mark(deployment)
        if (forget := self._forget_due()) is not None and forget <= now:
            self._forget_at = now + FORGETTING
            for uid in self.catalogue.forget_deletions(self.wall(now), self.wall(self.fleet.heard)):
                self.planner.effects.writes.append(DropDeletion(uid))

    def _heed(self, names: Iterable[str], now: float) -> None:
        """Take note that clients may want something else of these deployments. Most changes plan nothing."""
        for name in names:
            deployment = self.catalogue.by_id.get(name)
            if deployment is None or deployment.deleting:
                continue
            demand = self.demand.of(name)
            waits = self.planner.evictor.used(deployment.uid, demand, now) and deployment.wait is not None
            decision = look(deployment, demand, now, self.wall(now))
            wakes = deployment.held > 0 and deployment.has_sleepers
            shared = self.demand.sharing(name)
            answer = (decision.wanted, decision.needed, shared)
            if waits or wakes or answer != (deployment.wanted, deployment.needed, deployment.gateways):
                deployment.gateways = shared
                self._mark(deployment)
            elif self.is_planned(deployment):
                deployment.look_at = decision.due
                self._timers.set(deployment.uid, deployment.next_due)

    def _forget_due(self) -> float | None:
        """Return when to look for deletions that may be forgotten, or None while there is none."""
        old = self.catalogue.forget_at
        return None if old is None else max(self._forget_at, old - self._skew)

    def _settle_if_due(self, now: float) -> None:
        if not self.settling.ends(now):
            return
        self.settling.over = True
        for node in sorted(self.settling.awaited):
            missing = self.fleet.nodes[node]
            self.planner.effects.note_node(missing, "node.missing", "is not back since the head started")
            if not missing.draining:
                self.planner.effects.writes.append(DropNode(node))
        self.settling.awaited.clear()
        self._forget_nodes()
        self._dirty.update(self._unsettled)
        self._unsettled.clear()

    def _count(self, deployment: Deployment) -> None:
        if deployment.uid in self.catalogue.by_uid:
            self.states.put(deployment)
        else:
            self.states.forget(deployment.uid)

    def _weigh(self, deployment: Deployment, now: float) -> None:
        """Let those that wait for room try again if replicas of a deployment may go for them now."""
        evictor = self.planner.evictor
        if deployment.uid not in self.catalogue.by_uid:
            evictor.forget(deployment.uid)
        elif evictor.weigh(deployment, now):
            self._dirty.update(dict.fromkeys(evictor.next_in_turn(now)))

    def _mark(self, deployment: Deployment) -> None:
        self._count(deployment)
        if deployment.uid not in self._unsettled:
            self._dirty[deployment.uid] = None

    # ---- nodes

    def _linked(self, node: KnownNode, now: float) -> None:
        self.planner.effects.note_node(node, "node.linked", "is linked")
        if node.role == WORKER:
            self._keep_node(node, now)

    def _keep_node(self, node: KnownNode, now: float) -> None:
        if node.id not in self._held:
            record = NodeRecord(node.id, node.role, node.name, self.wall(now), node.draining)
            self.planner.effects.writes.append(PutNode(record))

    def _give_up(self, node: KnownNode) -> None:
        effects = self.planner.effects
        had = len(node.replicas)
        for replica in self.fleet.empty(node):
            self._detach(replica)
            effects.orders[node.id, replica.key] = None  # which stops nothing there
        lost = f"; replicas lost with it: {had}" if had else ""
        effects.note_node(node, "node.down", f"is down: {node.reason}{lost}")
        self._forget_nodes()

    def _forget_nodes(self) -> None:
        for node in self.fleet.forgotten(self.settling.awaited):
            self.planner.effects.forgotten.append(node.id)
            if node.address is not None:
                self.planner.effects.addresses[node.id] = None
            if node.role == WORKER:
                self.planner.effects.writes.append(DropNode(node.id))

    def _inventory(self, event: InventoryReported, now: float) -> None:
        node = self.fleet.nodes.get(event.node)
        if node is None or node.link is not Link.UP or node.role != WORKER:
            return
        renamed = node.name != event.inventory.name
        self.fleet.learn(node, event.inventory)
        address = WorkerAddress(node.id, event.inventory.host or node.host, event.inventory.port)
        if address != node.address:
            self.planner.effects.addresses[node.id] = node.address = address
        if renamed:
            self._keep_node(node, now)
        if event.changes != node.changes:
            node.changes = event.changes
            for uid, _ in self.fleet.forgive(node):
                if (deployment := self.catalogue.by_uid.get(uid)) is not None:
                    self._mark(deployment)
        self._offer(node, now)

    def _drain(self, node: str, *, draining: bool, now: float) -> None:
        known = self.fleet.nodes.get(node)
        if known is None or known.draining == draining:
            return
        known.draining = draining
        self.planner.effects.note_draining(known)
        self.fleet.weigh(known)
        for replica in known.replicas.values():
            if (deployment := self._owner(replica)) is not None:
                self._mark(deployment)
        self._offer(known, now)

    def _offer(self, node: KnownNode, now: float) -> None:
        """Let those that wait for room look at a worker that may have some."""
        self._dirty.update(dict.fromkeys(self.planner.evictor.claimants(node.id)))
        if len(self.planner.waiting):
            self._dirty.update(dict.fromkeys(self.planner.evictor.next_in_turn(now)))
            self._dirty.update(dict.fromkeys(self.planner.may_go_to(node, now)))

    # ---- replicas

    def _replicas(self, event: ReplicasReported, now: float) -> None:
        node = self.fleet.nodes.get(event.node)
        if node is None or node.link is not Link.UP or node.role != WORKER:
            return
        for report in event.put:
            self._report(node, report, now)
        for key in event.removed:
            if (replica := node.replicas.get(key)) is not None:
                self._gone(node, replica, now)
        if event.whole and not node.loaded:
            node.loaded = True
            self.fleet.weigh(node)
            self.settling.reported(node.id, now)
            self._settle_if_due(now)
            self._offer(node, now)

    def _report(self, node: KnownNode, report: ReplicaReport, now: float) -> None:
        replica = node.replicas.get(report.id.key)
        if report.state is ReplicaState.STOPPED:
            if replica is not None:
                self._gone(node, replica, now)
            return
        if replica is None:
            self._measure(self._recovery.meet(node, report, now), None, now)
            if (deployment := self.catalogue.by_id.get(report.id.deployment)) is not None:
                self._mark(deployment)  # also if it is a rival
            return
        before, held = replica.report, replica.held
        changed = replica.told(report, now)
        if replica.ordered is not Told.NOTHING:
            self.planner.effects.note_outcome(replica, report, before, node.name or node.id)
        self._measure(replica, before, now)
        if replica.need.gpus and replica.held != held:
            self.fleet.weigh(node)
            self._offer(node, now)
        if changed and (deployment := self._owner(replica)) is not None:
            if report.id.key.revision in deployment.revisions:
                self._mind(deployment, replica, before, now)
            self._mark(deployment)

    def _mind(
        self, deployment: Deployment, replica: KnownReplica, before: ReplicaReport | None, now: float
    ) -> None:
        """Take note that a replica has declined an order, or sleeps or is awake without one."""
        report = replica.report
        if report is None or before is None:
            return
        if replica.has_declined:
            self.planner.take_back(deployment, replica, now)
            self._dirty.update(dict.fromkeys(self.planner.evictor.claimants(replica.node)))
        elif replica.ordered is not Told.RUN:
            return
        elif replica.sleep is None and report.level is not None and before.level is None:
            if report.declined == before.declined:
                self.planner.sleeps(deployment, replica, report.level)
            else:  # another one is started, for which others may have to make room
                self.planner.stop(replica, report.reason or "it could not be woken", if_idle=True)
        elif replica.sleep is not None and (before.state, report.state) == _WOKEN:
            self.planner.wake(deployment, replica, "a gateway has woken it")
            deployment.used(now)

    def _measure(self, replica: KnownReplica, before: ReplicaReport | None, now: float) -> None:
        """Learn how long the last start or wake of a replica took, and how much memory it has."""
        writes, deployment = self.planner.effects.writes, self._owner(replica)
        peak = None if replica.report is None else self.catalogue.peaks.learn(replica.report, self.wall(now))
        if peak is not None:
            writes.append(PutMeasured(peak))
            if deployment is not None:
                self.planner.reckon(deployment)
        if (cost := learn(self.costs, replica, before)) is None:
            return
        key = cost.key
        record = MeasuredRecord(key.engine, key.worker, key.tier.value, cost.seconds, self.wall(now))
        writes.append(PutMeasured(record))
        if deployment is None:
            return
        expect(deployment, self.costs)
        if self.is_planned(deployment):
            self.planner.publish(deployment)

    def _gone(self, node: KnownNode, replica: KnownReplica, now: float) -> None:
        if replica.ordered is Told.RUN and replica.sleep is None:
            replica.told(None, now)  # the order stands: the worker will run it again
            self._mark(self.catalogue.by_uid[replica.key.uid])
            return
        self.fleet.drop(replica)
        self.planner.effects.orders[node.id, replica.key] = None
        self._detach(replica)
        self._offer(node, now)

    def _detach(self, replica: KnownReplica) -> None:
        """Let the deployment of a replica that is no longer on its worker plan without it."""
        self._recovery.forget(replica)
        self.planner.evictor.gone(replica)
        deployment = self._owner(replica)
        if deployment is not None:
            del deployment.replicas[replica.key]
            self._mark(deployment)

    def _owner(self, replica: KnownReplica) -> Deployment | None:
        """Return the deployment that a replica counts for, or None: of strangers, rivals and duplicates."""
        deployment = self.catalogue.by_uid.get(replica.key.uid)
        if deployment is None or deployment.replicas.get(replica.key) is not replica:
            return None
        return deployment

    # ---- what people have asked for

    def _added(self, deployment: Deployment) -> None:
        deployment.gateways = self.demand.sharing(deployment.id)
        self.catalogue.add(deployment)
        self._recovery.claimed(deployment.id)
        self.planner.effects.note(deployment.id, "deployment.created", f"{deployment.id} is deployed")
        self._mark(deployment)
