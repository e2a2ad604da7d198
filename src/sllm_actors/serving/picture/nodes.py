"""What happens to nodes."""

from __future__ import annotations

from sllm_actors.serving.messages import WorkerAddress
from sllm_actors.serving.store.records import NodeRecord
from sllm_actors.serving.store.writes import DropNode, PutNode

from .events import InventoryReported
from .fleet import WORKER
from .node import KnownNode, Link
from .parts import Parts
from .replica import KnownReplica


class Nodes:
    """Takes note of what happens to nodes, and lets deployments be planned to which that matters.

    Args:
        parts: The parts of the picture.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def settle_if_due(self, now: float) -> None:
        """Stop waiting for workers of the store, if that is over; those that are not back are given up."""
        settling, effects = self._parts.settling, self._parts.planner.effects
        if not settling.ends(now):
            return
        settling.over = True
        for node in sorted(settling.awaited):
            missing = self._parts.fleet.nodes[node]
            effects.note_node(missing, "node.missing", "is not back since the head started")
            if not missing.draining:
                effects.writes.append(DropNode(node))
        settling.awaited.clear()
        self.forget()
        self._parts.queue.settle()

    def linked(self, node: KnownNode, now: float) -> None:
        """Take note that a node is linked."""
        self._parts.planner.effects.note_node(node, "node.linked", "is linked")
        if node.role == WORKER:
            self._keep_node(node, now)

    def lost(self, node: KnownNode, reason: str) -> None:
        """Take note that a node is not linked any more."""
        self._parts.queue.add(self._parts.planner.evictor.claimants(node.id))
        self._parts.planner.effects.note_node(node, "node.lost", f"is not linked: {reason}")
        self.forget()

    def give_up(self, node: KnownNode) -> None:
        """Plan without the replicas of a node that the fleet has given up."""
        effects = self._parts.planner.effects
        had = len(node.replicas)
        for replica in self._parts.fleet.empty(node):
            self.detach(replica)
            effects.orders[node.id, replica.key] = None  # which stops nothing there
        lost = f"; replicas lost with it: {had}" if had else ""
        effects.note_node(node, "node.down", f"is down: {node.reason}{lost}")
        self.forget()

    def forget(self) -> None:
        """Forget those without a link of which there are too many."""
        for node in self._parts.fleet.forgotten(self._parts.settling.awaited):
            self._forgotten(node)
            if node.role == WORKER:
                self._parts.planner.effects.writes.append(DropNode(node.id))

    def removed(self, node: str, now: float) -> None:
        """Forget a node that a person has removed, unless it has come back just then."""
        effects = self._parts.planner.effects
        effects.removed.append(node)
        known = self._parts.fleet.nodes.get(node)
        if known is None:
            effects.note(
                node, "node.removed", f"{node} is removed: its id is free for another node", node=node
            )
        elif known.link is not Link.DOWN:
            self._write(known, now)  # what the store had of it is gone
        else:
            self._parts.fleet.remove(known)
            self._parts.settling.awaited.discard(node)
            self._forgotten(known)
            effects.writes.append(DropNode(node))  # once more: what waits to be written of it must not be
            effects.note_node(known, "node.removed", "is removed: its name and id are free for another node")

    def _forgotten(self, node: KnownNode) -> None:
        self._parts.planner.effects.forgotten.append(node.id)
        if node.address is not None:
            self._parts.planner.effects.addresses[node.id] = None

    def inventory(self, event: InventoryReported, now: float) -> None:
        """Take note of what a worker has."""
        node = self._parts.fleet.nodes.get(event.node)
        if node is None or node.link is not Link.UP or node.role != WORKER:
            return
        renamed = node.name != event.inventory.name
        self._parts.fleet.learn(node, event.inventory)
        address = WorkerAddress(node.id, event.inventory.host or node.host, event.inventory.port)
        if address != node.address:
            self._parts.planner.effects.addresses[node.id] = node.address = address
        if renamed:
            self._keep_node(node, now)
        if event.changes != node.changes:
            node.changes = event.changes
            for uid, _ in self._parts.fleet.forgive(node):
                if (deployment := self._parts.catalogue.by_uid.get(uid)) is not None:
                    self._parts.queue.mark(deployment)
        self.offer(node, now)

    def drain(self, node: str, *, draining: bool, now: float) -> None:
        """Take note that a worker is to be drained, or no longer."""
        known = self._parts.fleet.nodes.get(node)
        if known is None or known.draining == draining:
            return
        self._parts.fleet.drain(known, draining=draining)
        self._write(known, now)  # once more: what was decided before that may be written only now
        self._parts.planner.effects.note_draining(known)
        for replica in known.replicas.values():
            if (deployment := self._parts.catalogue.owner(replica)) is not None:
                self._parts.queue.mark(deployment)
        self.offer(known, now)

    def offer(self, node: KnownNode, now: float) -> None:
        """Let those that wait for room look at a worker that may have some."""
        self._parts.queue.add(self._parts.planner.evictor.claimants(node.id))
        if len(self._parts.planner.waiting):
            self._parts.queue.add(self._parts.planner.evictor.contenders.next_in_turn(now))
            self._parts.queue.add(self._parts.planner.may_go_to(node, now))

    def detach(self, replica: KnownReplica) -> None:
        """Let the deployment of a replica that is no longer on its worker plan without it."""
        self._parts.recovery.forget(replica)
        self._parts.planner.evictor.candidates.gone(replica)
        deployment = self._parts.catalogue.owner(replica)
        if deployment is not None:
            del deployment.replicas[replica.key]
            self._parts.queue.mark(deployment)

    def _keep_node(self, node: KnownNode, now: float) -> None:
        if node.id not in self._parts.queue.held:
            self._write(node, now)

    def _write(self, node: KnownNode, now: float) -> None:
        record = NodeRecord(node.id, node.role, node.name, self._parts.wall(now), node.draining)
        self._parts.planner.effects.writes.append(PutNode(record))
