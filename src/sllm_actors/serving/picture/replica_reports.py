"""What workers report of their replicas."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.models.byte_size import shown_bytes
from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.store.records import MeasuredRecord
from sllm_actors.serving.store.writes import PutMeasured

from .deployment import Deployment
from .events import ReplicasReported
from .fleet import WORKER
from .node import KnownNode, Link
from .nodes import Nodes
from .parts import Parts
from .replica import KnownReplica, Told
from .tiers.measuring import expect, learn

_WOKEN: Final = (ReplicaState.ASLEEP, ReplicaState.READY)

_STARTING: Final = (ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.FAILED)


class ReplicaReports:
    """Takes note of what workers report, and lets the deployments of these replicas be planned.

    Args:
        parts: The parts of the picture.
        nodes: Offers the room that there is again.
        costs: Learns what starts and wakes take.
    """

    def __init__(self, parts: Parts, nodes: Nodes, costs: StartCosts) -> None:
        self._parts = parts
        self._nodes = nodes
        self._costs = costs

    def take(self, event: ReplicasReported, now: float) -> Collection[str]:
        """Take what a worker has reported.

        Returns:
            The ids of deployments of which nothing has changed but how full their engines are.
        """
        node = self._parts.fleet.nodes.get(event.node)
        if node is None or node.link is not Link.UP or node.role != WORKER:
            return ()
        fuller = {report.id.deployment for report in event.put if self._report(node, report, now)}
        for key in event.removed:
            if (replica := node.replicas.get(key)) is not None:
                self._gone(node, replica, now)
        if event.whole and not node.loaded:
            node.loaded = True
            self._parts.fleet.weigh(node)
            self._parts.settling.reported(node.id, now)
            self._nodes.settle_if_due(now)
            self._nodes.offer(node, now)
        return fuller

    def _report(self, node: KnownNode, report: ReplicaReport, now: float) -> bool:
        """Take one report; return whether nothing has changed but how full the engine is."""
        replica = node.replicas.get(report.id.key)
        if report.state is ReplicaState.STOPPED:
            if replica is not None:
                self._gone(node, replica, now)
            return False
        if replica is None:
            replica = self._parts.recovery.meet(node, report, now)
            self._measure(replica, report, None, self._parts.catalogue.owner(replica), now)
            if (named := self._parts.catalogue.by_id.get(report.id.deployment)) is not None:
                self._parts.queue.mark(named)  # also if it is a rival
            return False
        before, gauges = replica.report, replica.gauges
        held = replica.held if replica.need.gpus else ()
        changed, deployment = replica.told(report, now), self._parts.catalogue.owner(replica)
        if replica.ordered is not Told.NOTHING:
            self._parts.planner.effects.note_outcome(replica, report, before, node.name or node.id)
        self._measure(replica, report, before, deployment, now)
        if replica.need.gpus and replica.held != held:
            self._parts.fleet.weigh(node)
            self._nodes.offer(node, now)
        if deployment is None:
            return False
        if changed:
            if replica.key.revision in deployment.revisions:
                self._mind(deployment, replica, before, now)
            self._parts.queue.mark(deployment)
        return not changed and replica.gauges is not gauges

    def _mind(
        self, deployment: Deployment, replica: KnownReplica, before: ReplicaReport | None, now: float
    ) -> None:
        """Take note that a replica has declined an order or lost it, or sleeps or is awake without one."""
        report, orders = replica.report, self._parts.planner.orders
        if report is None or before is None:
            return
        if replica.has_declined:
            orders.take_back(deployment, replica, now)
            self._parts.queue.add(self._parts.planner.evictor.claimants(replica.node))
        elif replica.ordered is not Told.RUN:
            return
        elif replica.sleep is None and report.level is not None and before.level is None:
            if report.declined == before.declined:
                orders.sleeps(deployment, replica, report.level)
            else:  # another one is started, for which others may have to make room
                orders.stop(replica, report.reason or "it could not be woken", if_idle=True)
        elif replica.sleep is not None and (before.state, report.state) == _WOKEN:
            orders.wake(deployment, replica, "its worker was asked to wake it")
            deployment.used(now)
        elif replica.sleep is not None and report.state is ReplicaState.READY and before.state in _STARTING:
            orders.sleep_again(deployment, replica)

    def _measure(
        self,
        replica: KnownReplica,
        report: ReplicaReport,
        before: ReplicaReport | None,
        deployment: Deployment | None,
        now: float,
    ) -> None:
        """Learn how long the last start or wake of a replica took, and how much memory it has."""
        writes = self._parts.planner.effects.writes
        if (peak := self._parts.catalogue.peaks.learn(report, self._parts.wall(now))) is not None:
            writes.append(PutMeasured(peak))
            if deployment is not None:
                self._parts.planner.orders.reckon(deployment)
        self._learn_figures(replica, report, deployment, self._parts.wall(now))
        if (cost := learn(self._costs, replica, before)) is None:
            return
        key = cost.key
        record = MeasuredRecord(key.engine, key.worker, key.tier.value, cost.seconds, self._parts.wall(now))
        writes.append(PutMeasured(record))
        if deployment is None:
            return
        expect(deployment, self._costs)
        if self._parts.queue.is_planned(deployment):
            self._parts.planner.publish(deployment)

    def _learn_figures(
        self, replica: KnownReplica, report: ReplicaReport, deployment: Deployment | None, wall: float
    ) -> None:
        """Learn what an engine takes of its GPUs; one that had too little of them starts anew with more."""
        if not (report.gpu_figures or report.gpu_used or report.gpu_lacked):
            return
        known, engine = self._parts.catalogue.figures, report.fingerprint
        news = known.learn(engine, report.gpu_figures, wall) + known.learn_used(engine, report.gpu_used, wall)
        revision = None if deployment is None else deployment.revisions.get(replica.key.revision)
        had = replica.need.gpu_memory
        if deployment is not None and revision is not None and deployment.estimate(revision) is not None:
            target = deployment.spec.scaling.target
            news += known.learn_lacked(engine, target, had, report.gpu_lacked, wall)
            more = deployment.need(revision, replica.need.gpus).gpu_memory
            if report.gpu_lacked and replica.ordered is Told.RUN and 0 < had < more:
                few = f"it did not start with {shown_bytes(had)} of each GPU"
                self._parts.planner.orders.stop(replica, f"{few}: the next one gets {shown_bytes(more)}")
        self._parts.planner.effects.writes += map(PutMeasured, news)
        if news and deployment is not None:
            self._parts.queue.mark(deployment)

    def _gone(self, node: KnownNode, replica: KnownReplica, now: float) -> None:
        if replica.ordered is Told.RUN and replica.sleep is None:
            replica.told(None, now)  # the order stands: the worker will run it again
            self._parts.queue.mark(self._parts.catalogue.by_uid[replica.key.uid])
            return
        self._parts.fleet.drop(replica)
        self._parts.planner.effects.orders[node.id, replica.key] = None
        self._nodes.detach(replica)
        self._nodes.offer(node, now)
