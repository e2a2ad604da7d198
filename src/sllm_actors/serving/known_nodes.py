"""The nodes of the cluster as the head knows them from links and reports: plain bookkeeping, without I/O."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from sllm_actors.serving.decisions.reconcile import Worker
from sllm_actors.transport import Peer

from .describe import NodeView
from .messages import Inventory, WorkerAddress, WorkerReport

MAX_ADDRESSES = 1024
"""The most addresses of workers that are kept; of too many, those of workers without a link are dropped."""

MAX_LOST = 256
"""The most nodes without a link that are still shown; the one that was lost first is dropped."""


class KnownNodes:
    """The nodes, updated by the controller as links and reports come in."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}
        self._views: dict[str, NodeView] = {}
        self._workers: dict[str, Worker] = {}
        self._sequences: dict[str, int] = {}
        self._addresses: dict[str, WorkerAddress] = {}

    @property
    def workers(self) -> Mapping[str, Worker]:
        """Workers that are linked and have reported, by node."""
        return self._workers

    @property
    def views(self) -> list[NodeView]:
        """Every node that is linked, and the last ``MAX_LOST`` that were, by id."""
        return [view for _, view in sorted(self._views.items())]

    @property
    def addresses(self) -> tuple[WorkerAddress, ...]:
        """The addresses at which gateways reach workers, by node.

        An address is kept when the worker's link to the head is lost: gateways may still reach the worker.
        """
        return tuple(address for _, address in sorted(self._addresses.items()))

    def linked(self, role: str) -> list[str]:
        """Return the linked nodes of a role."""
        return sorted(node for node, peer in self._peers.items() if peer.role == role)

    def life_of(self, node: str) -> Peer | None:
        """Return the life of a node that is linked now, or None."""
        return self._peers.get(node)

    def link_up(self, peer: Peer, now: float) -> bool:
        """Add a link; return False if it is known already, or of an earlier life of the node."""
        known = self._peers.get(peer.node)
        if known is not None and peer.incarnation <= known.incarnation:
            return False
        self._forget_worker(peer.node)
        self._peers[peer.node] = peer
        name = self._views[peer.node].name if peer.node in self._views else ""
        self._views[peer.node] = NodeView(
            peer.node, peer.role, peer.host, str(peer.incarnation), up=True, since=now, name=name
        )
        return True

    def link_lost(self, peer: Peer, reason: str, now: float) -> bool:
        """Remove a link; return False if it is not known, or the node has a newer one."""
        known = self._peers.get(peer.node)
        if known is None or known.incarnation != peer.incarnation:
            return False
        del self._peers[peer.node]
        self._forget_worker(peer.node)
        view = evolve(self._views.pop(peer.node), up=False, since=now, reason=reason)
        self._views[peer.node] = view  # at the end: the last to be lost is the last to be forgotten
        lost = [node for node, each in self._views.items() if not each.up]
        for node in lost[: max(0, len(lost) - MAX_LOST)]:
            del self._views[node]
        return True

    def report(self, report: WorkerReport) -> bool:
        """Take a worker's report; return False if it is older than the last, or the node is not linked."""
        peer = self._peers.get(report.node)
        if peer is None or peer.role != "worker":
            return False
        if report.sequence <= self._sequences.get(report.node, -1):
            return False
        self._sequences[report.node] = report.sequence
        self._workers[report.node] = Worker(
            report.node, report.inventory, {replica.id.key: replica for replica in report.replicas}
        )
        self._views[report.node] = evolve(self._views[report.node], name=report.inventory.name)
        self._learn_address(peer, report.inventory)
        return True

    def _forget_worker(self, node: str) -> None:
        self._workers.pop(node, None)
        self._sequences.pop(node, None)

    def _learn_address(self, peer: Peer, inventory: Inventory) -> None:
        address = WorkerAddress(peer.node, inventory.host or peer.host, inventory.port)
        place = (address.host, address.port)
        others = {node: each for node, each in self._addresses.items() if (each.host, each.port) != place}
        others.pop(peer.node, None)
        idle = [node for node in others if node not in self._peers]
        for node in idle[: max(0, len(others) + 1 - MAX_ADDRESSES)]:
            del others[node]
        self._addresses = {**others, peer.node: address}
