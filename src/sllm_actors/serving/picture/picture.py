"""The picture of the cluster: events in, effects out."""

from __future__ import annotations

import heapq

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.messages import WorkerAddress
from sllm_actors.serving.store.records import DropDeletion, DropNode, NodeRecord, PutNode, StoredState

from .catalogue import REMEMBERED, Catalogue
from .deployment import Deployment, Revision
from .effects import Effects
from .events import (
    DeletionAsked,
    DeploymentAdded,
    DocumentRead,
    DrainSet,
    Event,
    InventoryReported,
    NodeLost,
    NodeUp,
    NumbersReserved,
    PolicyChanged,
    ReplicasReported,
    RevisionAdded,
    RolloutPaused,
    RolloutResumed,
    TimePassed,
)
from .fleet import GRACE, WORKER, Fleet
from .node import Link, Node
from .planner import Planner
from .recovery import Recovery
from .replica import Ordered, Replica
from .rollout import SURGE_PATIENCE

SETTLE_TIME = 10.0
"""Seconds that a head which has just started waits for workers that it knows, see ``Picture``."""

BATCH = 64
"""How many deployments are planned in one step at most: the actor takes other messages in between."""


class Picture:
    """The state of the cluster, and what follows from each event.

    After its start it orders nothing until each worker of the store has reported all its replicas, or
    ``settle_time`` is over: a head that does not know the running engines yet must neither stop them nor
    start them a second time. With a store that is fresh, that time begins with the first report.

    An event costs what it touches. Of several events that come together, each deployment that they touch is
    planned once.

    Args:
        state: What the store held.
        now: Seconds on the head's clock; the same clock as in ``step``.
        wall: Seconds since the epoch at that time.
        settle_time: See ``SETTLE_TIME``.
        grace: See ``GRACE``.

    Attributes:
        fleet: The nodes.
        catalogue: The deployments.
        planner: What is decided for each deployment.
        awaited: Workers of the store that have not reported since the head started.
        settled: Whether orders are given.
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
        self.planner = Planner(self.fleet, self.catalogue)
        self._recovery = Recovery(self.fleet, self.catalogue, self.planner, settle_time)
        self._fresh = state.fresh
        self._skew = wall - now
        self._settle_time = settle_time
        self._dirty: dict[str, None] = {}
        self._timers: list[tuple[float, str]] = []
        self._held: set[str] = set()
        self.awaited: set[str] = set()
        for record in state.nodes:
            self.fleet.expect(Node(record.id, record.role, now, name=record.name, draining=record.draining))
            if record.role == WORKER:
                self.awaited.add(record.id)
        self._kept = {record.id: record for record in state.nodes}
        self._settle_at: float | None = None if state.fresh else now + settle_time
        self.settled = not self.awaited and not (state.fresh and state.deployments)
        self._mark_all()

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
            case NodeUp(node, role, host, incarnation):
                known = self.fleet.link_up(node, role, host, incarnation, now)
                if known is not None:
                    self._keep_node(known, now)
            case NodeLost(node, incarnation, reason):
                if self.fleet.link_lost(node, incarnation, reason, now) is not None:
                    self.planner.effects.note(node, "node.lost", f"{node} is not linked: {reason}")
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
                self._change(event)
        self._pass_time(now)

    @property
    def more(self) -> bool:
        """Whether deployments are still to be planned: call ``plan`` again."""
        return self.settled and bool(self._dirty)

    def plan(self, now: float, limit: int = BATCH) -> None:
        """Plan at most ``limit`` of the deployments that events have touched."""
        if not self.settled:
            return
        wall = now + self._skew
        while self._dirty and limit > 0:
            limit -= 1
            uid = next(iter(self._dirty))
            del self._dirty[uid]
            deployment = self.catalogue.by_uid.get(uid)
            if deployment is None or deployment.id in self._held:
                continue
            before = deployment.due
            self.planner.plan(deployment, now, wall)
            self._mind_rivals(deployment, now)
            if deployment.due is not None and deployment.due != before:
                self._push_timer(deployment.due, uid)

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
        times = [self.fleet.due(), self._recovery.due()]
        if not self.settled:
            times.append(self._settle_at)
        elif self._timers:
            times.append(self._timers[0][0])
        return min((each for each in times if each is not None), default=None)

    # ---- time

    def _pass_time(self, now: float) -> None:
        for node in self.fleet.expired(now):
            self._give_up(node)
        if not self.settled and self._settle_at is not None and now >= self._settle_at:
            self._settle()
        if not self.settled:
            return
        while self._timers and self._timers[0][0] <= now:
            when, uid = heapq.heappop(self._timers)
            deployment = self.catalogue.by_uid.get(uid)
            if deployment is not None and deployment.due == when:
                self._mark(deployment)
        if (due := self._recovery.due()) is not None and due <= now:
            for deployment in self._recovery.decide(now, now + self._skew):
                self._mark(deployment)

    def _push_timer(self, when: float, uid: str) -> None:
        if len(self._timers) > 64 + 4 * len(self.catalogue.by_uid):  # most of them are out of date
            everyone = self.catalogue.by_uid.values()
            self._timers = [(each.due, each.uid) for each in everyone if each.due is not None]
            heapq.heapify(self._timers)
        heapq.heappush(self._timers, (when, uid))

    def _settle(self) -> None:
        self.settled = True
        for node in sorted(self.awaited):
            self.planner.effects.note(node, "node.missing", f"{node} is not back since the head started")
            if not self.fleet.nodes[node].draining:
                self._kept.pop(node, None)
                self.planner.effects.writes.append(DropNode(node))
        self.awaited.clear()
        self._mark_all()

    def _mark_all(self) -> None:
        self._dirty = dict.fromkeys(self.catalogue.by_uid)

    def _mark(self, deployment: Deployment) -> None:
        self._dirty[deployment.uid] = None

    # ---- nodes

    def _keep_node(self, node: Node, now: float) -> None:
        self.planner.effects.note(node.id, "node.linked", f"{node.name or node.id} is linked")
        if node.role == WORKER and node.id not in self._held:
            record = NodeRecord(node.id, node.role, node.name, now + self._skew, node.draining)
            self._kept[node.id] = record
            self.planner.effects.writes.append(PutNode(record))

    def _give_up(self, node: Node) -> None:
        effects = self.planner.effects
        for replica in self.fleet.empty(node):
            self._detach(replica)
            effects.orders[node.id, replica.key] = None  # which stops nothing there
        effects.note(node.id, "node.down", f"{node.name or node.id} is down: {node.reason}")

    def _inventory(self, event: InventoryReported, now: float) -> None:
        node = self.fleet.nodes.get(event.node)
        if node is None or node.link is not Link.UP or node.role != WORKER:
            return
        before, renamed = node.inventory, node.name != event.inventory.name
        self.fleet.learn(node, event.inventory)
        address = WorkerAddress(node.id, event.inventory.host or node.host, event.inventory.port)
        if before is None or renamed or (before.host, before.port) != (event.inventory.host, address.port):
            self.planner.effects.addresses[node.id] = address
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
        self.fleet.weigh(known)
        for replica in known.replicas.values():
            if (deployment := self._owner(replica)) is not None:
                self._mark(deployment)
        self._offer(known, now)

    def _offer(self, node: Node, now: float) -> None:
        """Let those that wait for room look at a worker that may have some."""
        if not len(self.planner.waiting) or not node.takes_replicas:
            return

        def fits(uid: str) -> bool:
            waiting = self.catalogue.by_uid[uid]
            if waiting.spec.gpus_on(node.gpus) > node.free_gpus:
                return False
            return not node.rejects((uid, waiting.target), now)

        for uid in list(self.planner.waiting.for_room(node.free_gpus, fits)):
            self._dirty[uid] = None

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
            self._loaded(node, now)

    def _loaded(self, node: Node, now: float) -> None:
        self.awaited.discard(node.id)
        if not self.settled:
            if self._settle_at is None:
                self._settle_at = now + self._settle_time
            elif not self.awaited and not self._fresh:
                self._settle()
        self._offer(node, now)

    def _report(self, node: Node, report: ReplicaReport, now: float) -> None:
        replica = node.replicas.get(report.id.key)
        if report.state is ReplicaState.STOPPED:
            if replica is not None:
                self._gone(node, replica, now)
            return
        if replica is None:
            replica = self._recovery.meet(node, report, now)
            if (deployment := self._owner(replica)) is not None:
                self._mark(deployment)
            return
        before = replica.report
        replica.report = report
        if before is not None and (before.state, before.failures, before.unfit) == (
            report.state,
            report.failures,
            report.unfit,
        ):
            return  # progress: nothing to decide
        if (deployment := self._owner(replica)) is not None:
            self._mark(deployment)

    def _gone(self, node: Node, replica: Replica, now: float) -> None:
        if replica.ordered is Ordered.RUN:
            replica.report = None  # the order stands: the worker will run it again
        else:
            self.fleet.drop(replica)
            self._recovery.forget(replica)
            self.planner.effects.orders[node.id, replica.key] = None
            self._offer(node, now)
        deployment = self._owner(replica)
        if replica.ordered is not Ordered.RUN:
            self._detach(replica)
        if deployment is not None:
            self._mark(deployment)

    def _detach(self, replica: Replica) -> None:
        """Let the deployment of a replica that is no longer on its worker plan without it."""
        self._recovery.forget(replica)
        deployment = self._owner(replica)
        if deployment is not None:
            del deployment.replicas[replica.key]
            self._mark(deployment)

    def _owner(self, replica: Replica) -> Deployment | None:
        """Return the deployment that a replica counts for, or None: of strangers, rivals and duplicates."""
        deployment = self.catalogue.by_uid.get(replica.key.uid)
        if deployment is None or deployment.replicas.get(replica.key) is not replica:
            return None
        return deployment

    def _mind_rivals(self, deployment: Deployment, now: float) -> None:
        if not self._recovery.has_rivals(deployment.id):
            return
        if any(replica.serves for replica in deployment.replicas.values()):
            self._recovery.yield_to(deployment, serves=True)
        elif deployment.wait is not None and now >= deployment.wait.since + SURGE_PATIENCE:
            self._recovery.yield_to(deployment, serves=False)

    # ---- what people have asked for

    def _added(self, deployment: Deployment) -> None:
        self.catalogue.add(deployment)
        self.planner.effects.note(deployment.id, "deployment.created", f"{deployment.id} is deployed")
        self._mark(deployment)

    def _change(self, event: Event) -> None:
        assert isinstance(
            event,
            RevisionAdded | PolicyChanged | DeletionAsked | RolloutPaused | RolloutResumed | NumbersReserved,
        )
        deployment = self.catalogue.by_uid.get(event.uid)
        if deployment is None:
            return
        match event:
            case NumbersReserved(_, below):
                deployment.usable = max(deployment.usable, below)
            case RevisionAdded(_, record, generation, allow_downtime):
                revision = Revision.of(record)
                deployment.revisions[revision.number] = revision
                self.catalogue.used(deployment.id, revision.number)
                deployment.target, deployment.generation = revision.number, generation
                deployment.wanted = revision.spec.replicas
                deployment.paused, deployment.allow_downtime = "", allow_downtime
            case PolicyChanged(_, records, generation):
                for record in records:
                    deployment.revisions[record.revision] = Revision.of(record)
                self.planner.repeat_orders(deployment)
                deployment.generation = generation
                deployment.wanted = deployment.spec.replicas
            case DeletionAsked():
                deployment.deleting = True
            case RolloutPaused(_, reason):
                deployment.paused = reason
            case RolloutResumed(_, allow_downtime):
                deployment.paused, deployment.allow_downtime = "", allow_downtime
        self._mark(deployment)

    def forget_deletions(self, now: float) -> None:
        """Forget deletions that are old enough, unless a worker of the store has not reported since."""
        if self.awaited:
            return
        limit = now + self._skew - REMEMBERED
        for uid, deletion in list(self.catalogue.deletions.items()):
            if deletion.at < limit:
                del self.catalogue.deletions[uid]
                self.planner.effects.writes.append(DropDeletion(uid))
