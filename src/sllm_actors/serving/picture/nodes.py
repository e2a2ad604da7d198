"""What happens to nodes."""

from __future__ import annotations

from collections.abc import Callable

from sllm_actors.serving.messages import WorkerAddress
from sllm_actors.serving.store.records import DropNode, NodeRecord, PutNode

from .catalogue import Catalogue
from .events import InventoryReported
from .fleet import WORKER, Fleet
from .node import KnownNode, Link
from .planning.planner import Planner
from .planning.queue import PlanningQueue
from .recovery import Recovery
from .replica import KnownReplica
from .settling import Settling


class Nodes:
    """Takes note of what happens to nodes, and lets deployments be planned to which that matters.

    Args:
        fleet: The nodes.
        catalogue: The deployments.
        planner: Decides for these.
        recovery: Decides about what was not ordered.
        settling: What is waited for after the start.
        queue: Gets the deployments that are to be planned.
        wall: Returns a time of the head's clock in seconds since the epoch.
    """

    def __init__(
        self,
        fleet: Fleet,
        catalogue: Catalogue,
        planner: Planner,
        recovery: Recovery,
        settling: Settling,
        queue: PlanningQueue,
        wall: Callable[[float], float],
    ) -> None:
        self._fleet = fleet
        self._catalogue = catalogue
        self._planner = planner
        self._recovery = recovery
        self._settling = settling
        self._queue = queue
        self._wall = wall

    def settle_if_due(self, now: float) -> None:
        """Stop waiting for workers of the store, if that is over; those that are not back are given up."""
        if not self._settling.ends(now):
            return
        self._settling.over = True
        for node in sorted(self._settling.awaited):
            missing = self._fleet.nodes[node]
            self._planner.effects.note_node(missing, "node.missing", "is not back since the head started")
            if not missing.draining:
                self._planner.effects.writes.append(DropNode(node))
        self._settling.awaited.clear()
        self.forget()
        self._queue.settle()

    def linked(self, node: KnownNode, now: float) -> None:
        """Take note that a node is linked."""
        self._planner.effects.note_node(node, "node.linked", "is linked")
        if node.role == WORKER:
            self._keep_node(node, now)

    def lost(self, node: KnownNode, reason: str) -> None:
        """Take note that a node is not linked any more."""
        self._queue.add(self._planner.evictor.claimants(node.id))
        self._planner.effects.note_node(node, "node.lost", f"is not linked: {reason}")
        self.forget()

    def give_up(self, node: KnownNode) -> None:
        """Plan without the replicas of a node that the fleet has given up."""
        effects = self._planner.effects
        had = len(node.replicas)
        for replica in self._fleet.empty(node):
            self.detach(replica)
            effects.orders[node.id, replica.key] = None  # which stops nothing there
        lost = f"; replicas lost with it: {had}" if had else ""
        effects.note_node(node, "node.down", f"is down: {node.reason}{lost}")
        self.forget()

    def forget(self) -> None:
        """Forget those without a link of which there are too many."""
        for node in self._fleet.forgotten(self._settling.awaited):
            self._planner.effects.forgotten.append(node.id)
            if node.address is not None:
                self._planner.effects.addresses[node.id] = None
            if node.role == WORKER:
                self._planner.effects.writes.append(DropNode(node.id))

    def inventory(self, event: InventoryReported, now: float) -> None:
        """Take note of what a worker has."""
        node = self._fleet.nodes.get(event.node)
        if node is None or node.link is not Link.UP or node.role != WORKER:
            return
        renamed = node.name != event.inventory.name
        self._fleet.learn(node, event.inventory)
        address = WorkerAddress(node.id, event.inventory.host or node.host, event.inventory.port)
        if address != node.address:
            self._planner.effects.addresses[node.id] = node.address = address
        if renamed:
            self._keep_node(node, now)
        if event.changes != node.changes:
            node.changes = event.changes
            for uid, _ in self._fleet.forgive(node):
                if (deployment := self._catalogue.by_uid.get(uid)) is not None:
                    self._queue.mark(deployment)
        self.offer(node, now)

    def drain(self, node: str, *, draining: bool, now: float) -> None:
        """Take note that a worker is to be drained, or no longer."""
        known = self._fleet.nodes.get(node)
        if known is None or known.draining == draining:
            return
        self._fleet.drain(known, draining=draining)
        self._planner.effects.note_draining(known)
        for replica in known.replicas.values():
            if (deployment := self._catalogue.owner(replica)) is not None:
                self._queue.mark(deployment)
        self.offer(known, now)

    def offer(self, node: KnownNode, now: float) -> None:
        """Let those that wait for room look at a worker that may have some."""
        self._queue.add(self._planner.evictor.claimants(node.id))
        if len(self._planner.waiting):
            self._queue.add(self._planner.evictor.next_in_turn(now))
            self._queue.add(self._planner.may_go_to(node, now))

    def detach(self, replica: KnownReplica) -> None:
        """Let the deployment of a replica that is no longer on its worker plan without it."""
        self._recovery.forget(replica)
        self._planner.evictor.candidates.gone(replica)
        deployment = self._catalogue.owner(replica)
        if deployment is not None:
            del deployment.replicas[replica.key]
            self._queue.mark(deployment)

    def _keep_node(self, node: KnownNode, now: float) -> None:
        if node.id not in self._queue.held:
            record = NodeRecord(node.id, node.role, node.name, self._wall(now), node.draining)
            self._planner.effects.writes.append(PutNode(record))
