"""The picture of the cluster: events in, effects out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.store.records import StoredState
from sllm_actors.serving.store.writes import DropDeletion, PutMeasured, RemoveDeployment, StoreWrite

from .catalogue import Catalogue
from .deployment import Deployment, Revision, fingerprint_of
from .deployment_state import StateCounts
from .effects import Effects
from .events import (
    DemandReported,
    DeploymentAdded,
    DocumentRead,
    DrainSet,
    Event,
    GatewayCalled,
    GatewayCutOff,
    InventoryReported,
    NodeLost,
    NodeRemoved,
    NodeUp,
    RefusalsCounted,
    ReplicasReported,
    TimePassed,
)
from .fleet import GRACE, Fleet
from .indices.demand import DemandTable
from .node import KnownNode
from .nodes import Nodes
from .parts import Parts
from .planning.asked import Asked, change
from .planning.learned import keep_learned, recall
from .planning.planner import Planner
from .planning.queue import PlanningQueue
from .planning.scaling import look, scale
from .planning.unreached import replace_unreached, unreached
from .recovery import Recovery
from .replica_reports import ReplicaReports
from .settling import SETTLE_TIME, Settling
from .tiers.measuring import known_costs

FORGETTING = 3600.0
"""Seconds between two looks at deletions that are old enough, but may not be forgotten yet."""

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
        queue: The deployments that are still to be planned.
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
        self.queue = PlanningQueue(self.catalogue, self.states)
        parts = Parts(
            self.fleet,
            self.catalogue,
            self.planner,
            self._recovery,
            self.settling,
            self.queue,
            self.wall,
        )
        self._nodes = Nodes(parts)
        self._reports = ReplicaReports(parts, self._nodes, self.costs)
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
            recall(deployment, state.pauses.get(deployment.uid), self._skew)
            self.planner.publish(deployment)
            self.states.put(deployment)
        self._nodes.settle_if_due(now)

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
                self._heed(self._reports.take(event, now), now)
            case GatewayCalled() | GatewayCutOff() | RefusalsCounted():
                self._noted(event)
            case InventoryReported():
                self._nodes.inventory(event, now)
            case DemandReported(gateway, put, removed):
                names = self.demand.report(gateway, put, removed, now)
                self._heed(names.union(removed), now)
            case NodeUp(node, role, host, incarnation):
                known = self.fleet.link_up(node, role, host, incarnation, now)
                if known is not None:
                    self._nodes.linked(known, now)
            case NodeLost(node, incarnation, reason, left):
                if (gone := self.fleet.link_lost(node, incarnation, reason, now, left=left)) is not None:
                    self.demand.lost(node)
                    self._nodes.lost(gone, reason)
                    cut_off = {key.deployment for key in gone.replicas}
                    self._heed((each for each in cut_off if self.demand.of(each).held), now)
            case DeploymentAdded(record, revision):
                first = Revision.of(revision)
                added = Deployment.of(record, {first.number: first})
                added.next_number = 0  # none was given out yet
                self._added(added)
            case DrainSet(node, draining):
                self._nodes.drain(node, draining=draining, now=now)
            case NodeRemoved(node):
                self._nodes.removed(node, now)
            case DocumentRead(uid, revision_number, document):
                self._recovery.learn(uid, revision_number, document)
            case TimePassed():
                pass
            case _:
                assert isinstance(event, get_args(Asked))
                if (changed := self.catalogue.by_uid.get(event.uid)) is not None:
                    change(changed, event, self.catalogue, self.planner, now)
                    self.queue.mark(changed)
        self._pass_time(now)

    @property
    def more(self) -> bool:
        """Whether deployments are still to be planned: call ``plan`` again."""
        return len(self.queue) > 0

    def plan(self, now: float, limit: int = BATCH) -> None:
        """Plan at most ``limit`` of the deployments that events have touched."""
        wall = self.wall(now)
        while len(self.queue) and limit > 0:
            limit -= 1
            if (deployment := self.queue.pop()) is None:
                continue
            self._recovery.mind_rivals(deployment, now, wall)
            demand = self.demand.of(deployment.id)
            if not deployment.deleting and self.fleet.has_suspects:
                replace_unreached(deployment, demand, self.fleet, self.planner.effects)
            scale(deployment, demand, self.planner.effects, now, wall)
            self.planner.plan(deployment, now, wall)
            self.queue.timers.set(deployment.uid, deployment.next_due)
            self.queue.count(deployment)
            self._weigh(deployment, now)
            for touched in self.planner.room.touched:
                self.queue.mark(self.catalogue.by_uid[touched])
            self.planner.room.touched.clear()

    def is_planned(self, deployment: Deployment) -> bool:
        """Return whether all that has happened to a deployment has been decided about."""
        return self.queue.is_planned(deployment)

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
        if subject in self.queue.held:
            return False
        self.queue.held.add(subject)
        return True

    def release(self, subject: str) -> None:
        """Decide again about what was held."""
        self.queue.held.discard(subject)
        if (deployment := self.catalogue.by_id.get(subject)) is not None:
            self.queue.mark(deployment)

    def take_size(self, spec: DeploymentSpec, size: int, wall: float) -> None:
        """Remember how many bytes the files of a model have that is deployed, at ``wall`` since the epoch."""
        if (record := self.catalogue.peaks.learn_files(fingerprint_of(spec), size, wall)) is not None:
            self.planner.effects.writes.append(PutMeasured(record))

    def take_figures(self, spec: DeploymentSpec, figures: GpuFigures, wall: float) -> None:
        """Remember what a model that is deployed takes of each GPU, at ``wall`` seconds since the epoch."""
        records = self.catalogue.figures.learn(fingerprint_of(spec), figures, wall)
        self.planner.effects.writes += map(PutMeasured, records)
        if records and (known := self.catalogue.by_id.get(spec.id)) is not None:
            self.queue.mark(known)

    def last_writes(self, now: float) -> list[StoreWrite]:
        """Return what is to be written before the head ends, and was not worth a write before that."""
        found = (keep_learned(each, now, self.wall(now), 0.0) for each in self.catalogue.by_uid.values())
        return [each for each in found if each is not None]

    def effects(self) -> Effects:
        """Return what has followed since the last call."""
        return self.planner.effects.take()

    def wall(self, when: float) -> float:
        """Return a time of the head's clock in seconds since the epoch."""
        return when + self._skew

    def due(self) -> float | None:
        """Return when something happens without an event, in seconds on the head's clock, or None."""
        times = [self.fleet.due(), self.queue.timers.due(), self.settling.due(), self._forget_due()]
        times.append(self.demand.due())
        if self.settling.over:
            times.append(self._recovery.due())
        return min((each for each in times if each is not None), default=None)

    def _noted(self, event: GatewayCalled | GatewayCutOff | RefusalsCounted) -> None:
        """Take what is only shown."""
        match event:
            case GatewayCalled(node, name, host):
                self.fleet.call_gateway(node, name, host)
            case GatewayCutOff(node, workers):
                self.fleet.cut_off(node, workers)
            case RefusalsCounted(node, counts):
                self.fleet.count_refusals(node, counts)

    # ---- time

    def _pass_time(self, now: float) -> None:
        for node in self.fleet.expired(now):
            self._nodes.give_up(node)
        if (due := self.demand.due()) is not None and due <= now:
            self._heed(self.demand.expire(now), now)
        for uid in self.queue.timers.pop(now):
            self.queue.mark(self.catalogue.by_uid[uid])
        self._nodes.settle_if_due(now)
        if self.settling.over and (due := self._recovery.due()) is not None and due <= now:
            for deployment in self._recovery.decide(now, self.wall(now), self.queue.held):
                self.queue.mark(deployment)
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
            begun = self.planner.evictor.candidates.used(deployment.uid, demand, now)
            before, decision = deployment.pressing, look(deployment, demand, now, self.wall(now))
            if (learned := keep_learned(deployment, now, self.wall(now))) is not None:
                self.planner.effects.writes.append(learned)
            waits = deployment.wait is not None and (begun or deployment.pressing > before)
            waits = waits or bool(unreached(deployment, demand, self.fleet))
            wakes = deployment.held > 0 and deployment.has_sleepers
            shared = self.demand.sharing(name)
            moved, deployment.gateways = shared != deployment.gateways, shared
            answer = (decision.wanted, decision.needed)
            if waits or wakes or answer != (deployment.wanted, deployment.needed):
                self.queue.mark(deployment)
            elif self.queue.is_planned(deployment):
                if moved:
                    self.planner.publish(deployment)
                deployment.look_at = decision.due
                self.queue.timers.set(deployment.uid, deployment.next_due)

    def _forget_due(self) -> float | None:
        """Return when to look for deletions that may be forgotten, or None while there is none."""
        old = self.catalogue.forget_at
        return None if old is None else max(self._forget_at, old - self._skew)

    def _weigh(self, deployment: Deployment, now: float) -> None:
        """Let those that wait for room try again if replicas of a deployment may go for them now."""
        evictor = self.planner.evictor
        if deployment.uid not in self.catalogue.by_uid:
            evictor.forget(deployment.uid)
        elif evictor.candidates.weigh(deployment, now):
            self.queue.add(evictor.contenders.next_in_turn(now))

    # ---- what people have asked for

    def _added(self, deployment: Deployment) -> None:
        deployment.gateways = self.demand.sharing(deployment.id)
        self.catalogue.add(deployment)
        self._recovery.claimed(deployment.id)
        self.planner.effects.note(deployment.id, "deployment.created", f"{deployment.id} is deployed")
        self.queue.mark(deployment)
