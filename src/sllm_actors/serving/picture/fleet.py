"""The nodes of the cluster: their links, what room workers have, and which of them are given up when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from attrs import evolve

from sllm_actors.actors import Incarnation
from sllm_actors.serving.messages import Inventory, UnreachedWorker

from .indices.labels import LabelIndex
from .indices.models import ModelIndex
from .indices.room import RoomIndex
from .indices.tally import Tally
from .node import KnownNode, Link, Rejection, RevisionKey
from .replica import KnownReplica
from .room.need import Need

GRACE = 10.0
"""Seconds that a worker may be without a link before its replicas are replaced."""

MAX_DOWN = 256
"""The most nodes without a link that are kept; of too many, the one that was lost first is forgotten."""

WORKER = "worker"

LONGEST_NAME = 128
"""The most characters of what people call a gateway."""

MOST_UNREACHED = 64
"""The most workers that count of those which a gateway does not reach."""

LONGEST_REASON = 500
"""The most characters of why it does not."""

MOST_REFUSALS = 32
"""The most kinds of refusals that count of one node."""

LONGEST_KIND = 64
"""The most characters of what they are called."""

LONGEST_HOST = 255
"""The most characters of the address at which it says that it is found."""


class Fleet:
    """All nodes.

    While more than one, and more than a third, of the workers are suspect, none is given up: more probably
    the head, or the network, has the fault. Workers that have said goodbye are no sign of that, and do not
    count there.

    Args:
        grace: See ``GRACE``.

    Attributes:
        nodes: Every node, by id.
        ids: Their ids, in order.
        tally: How many there are of what.
        room: The workers that new replicas may be placed on.
        labels: Which workers have which labels.
        models: Which workers have which models on their disks.
        workers_up: The workers that are linked, by id.
        draining: The ids of the nodes that are being drained.
        refused: How many connections and requests nodes have refused, by node and why; "" is the head itself.
        unreached: The workers that a gateway which is linked does not reach, by gateway and worker.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.nodes: dict[str, KnownNode] = {}
        self.ids: list[str] = []
        self.tally = Tally()
        self.room = RoomIndex()
        self.labels = LabelIndex()
        self.models = ModelIndex()
        self._grace = grace
        self._suspects: dict[str, float] = {}  # when each is given up, the first one first
        self._leavers: dict[str, float] = {}  # of those that are suspect, too, but have said goodbye
        self._down: dict[str, None] = {}
        self.workers_up: dict[str, KnownNode] = {}
        self.draining: set[str] = set()
        self.refused: dict[str, dict[str, int]] = {}
        self.unreached: dict[str, dict[str, UnreachedWorker]] = {}

    # ---- links

    def link_up(
        self, node: str, role: str, host: str, incarnation: Incarnation, now: float
    ) -> KnownNode | None:
        """Take a link that came up; return the node, or None if it is known, or a later life of it is.

        What the worker refused in an earlier life counts no longer.
        """
        known = self.nodes.get(node)
        if known is None:
            known = KnownNode(node, role, now)
            self.expect(known)
        elif (known.incarnation is not None and incarnation < known.incarnation) or (
            known.link is Link.UP and incarnation == known.incarnation
        ):
            return None
        if role == WORKER:
            self.workers_up[node] = known
        if known.incarnation != incarnation:
            self.refused.pop(node, None)
            known.rejections.clear()  # of another life, it may have something that it had not
        self._suspects.pop(node, None)
        self._leavers.pop(node, None)
        self._down.pop(node, None)
        self.unreached.pop(node, None)
        known.role, known.host, known.incarnation = role, host, incarnation
        if known.loaded:  # in the life before, which ends with this one
            known.heard = now
        known.link, known.reason, known.since, known.loaded = Link.UP, "", now, False
        self.weigh(known)
        return known

    def link_lost(
        self, node: str, incarnation: Incarnation, reason: str, now: float, *, left: bool = False
    ) -> KnownNode | None:
        """Take a lost link; return the node, or None if that life is not linked."""
        known = self.nodes.get(node)
        if known is None or known.link is not Link.UP or known.incarnation != incarnation:
            return None
        if known.loaded:
            known.heard = now
        known.reason, known.since, known.loaded = reason, now, False
        self.unreached.pop(node, None)
        if known.role == WORKER:
            known.link = Link.SUSPECT
            del self.workers_up[node]
            (self._leavers if left else self._suspects)[node] = now + self._grace
            self.weigh(known)
        else:
            self._give_up(known)
        return known

    def expect(self, node: KnownNode) -> None:
        """Add a node that is not known, and has no link."""
        self.nodes[node.id] = node
        if node.draining:
            self.draining.add(node.id)
        insort(self.ids, node.id)
        self.weigh(node)
        self._down[node.id] = None

    def drain(self, node: KnownNode, *, draining: bool) -> None:
        """Take note that a node is to be drained, or no longer."""
        node.draining = draining
        (self.draining.add if draining else self.draining.discard)(node.id)
        self.weigh(node)

    def after(self, cursor: str) -> Iterator[KnownNode]:
        """Return nodes in the order of their ids, from the first one after ``cursor``."""
        for index in range(bisect_right(self.ids, cursor), len(self.ids)):
            yield self.nodes[self.ids[index]]

    @property
    def has_suspects(self) -> bool:
        """Whether some worker is suspect."""
        return bool(self._suspects or self._leavers)

    @property
    def doubts_itself(self) -> bool:
        """Whether so many workers are suspect that the head gives up none."""
        suspects = len(self._suspects)
        return suspects > 1 and suspects * 3 > suspects + len(self.workers_up)

    @property
    def heard(self) -> float:
        """When every worker had told all its replicas, in seconds on the head's clock: later, some may have
        replicas that are not known. Infinite where all replicas are known now."""
        workers = (node for node in self.nodes.values() if node.role == WORKER and not node.loaded)
        return min((node.heard for node in workers), default=float("inf"))

    def due(self) -> float | None:
        """Return when the next suspect is to be given up, or None."""
        queue = self._next_queue()
        return _first(queue) if queue else None

    def expired(self, now: float) -> list[KnownNode]:
        """Give up the suspects whose grace is over, and return them, with the replicas that they had."""
        gone: list[KnownNode] = []
        if not self.has_suspects:
            return gone
        while (queue := self._next_queue()) and _first(queue) <= now:
            node = self.nodes[next(iter(queue))]
            del queue[node.id]
            node.since = now
            self._give_up(node)
            gone.append(node)
        return gone

    def forgotten(self, awaited: Collection[str] = ()) -> list[KnownNode]:
        """Forget nodes without a link of which there are too many, and return them.

        One that is being drained, still has replicas, or is among ``awaited`` is kept.
        """
        gone = []
        for oldest in list(islice(self._down, max(0, len(self._down) - MAX_DOWN))):
            node = self.nodes[oldest]
            if not node.draining and not node.replicas and oldest not in awaited:
                self.remove(node)
                gone.append(node)
        return gone

    def remove(self, node: KnownNode) -> None:
        """Forget a node that is down."""
        del self._down[node.id], self.nodes[node.id]
        del self.ids[bisect_left(self.ids, node.id)]
        self.draining.discard(node.id)
        self.refused.pop(node.id, None)
        self.tally.forget(node)
        self.labels.put(node.id, {})
        self.models.put(node.id, ())

    def _next_queue(self) -> dict[str, float] | None:
        """Return the queue whose first node is given up next."""
        queues = (self._leavers,) if self.doubts_itself else (self._leavers, self._suspects)
        return min((queue for queue in queues if queue), key=_first, default=None)

    def _give_up(self, node: KnownNode) -> None:
        node.link = Link.DOWN
        self._down[node.id] = None
        self.weigh(node)

    # ---- room

    def call_gateway(self, node: str, name: str, host: str = "") -> None:
        """Take note of what people call a gateway, and where they find it; nothing is decided by that."""
        known = self.nodes.get(node)
        if known is not None and known.role != WORKER:
            known.name, known.host = name[:LONGEST_NAME], host[:LONGEST_HOST] or known.host

    def cut_off(self, gateway: str, workers: Iterable[UnreachedWorker]) -> None:
        """Take note of all workers that a gateway does not reach; nothing is decided by that."""
        known = self.nodes.get(gateway)
        if known is not None and known.link is Link.UP and known.role != WORKER:
            self.unreached[gateway] = {
                each.node: evolve(each, reason=each.reason[:LONGEST_REASON])
                for each in islice(workers, MOST_UNREACHED)
            }

    def count_refusals(self, node: str, counts: Mapping[str, int]) -> None:
        """Take note of what a node, or the head as "", has refused since it started; nothing is decided."""
        if not node or node in self.nodes:
            kinds = sorted(counts)[:MOST_REFUSALS]
            self.refused[node] = {kind[:LONGEST_KIND]: counts[kind] for kind in kinds}

    def learn(self, node: KnownNode, inventory: Inventory) -> None:
        """Take what a worker has."""
        self.labels.put(node.id, inventory.labels)
        self.models.put(node.id, inventory.models)
        node.inventory, node.name = inventory, inventory.name
        self.weigh(node)

    def add(self, replica: KnownReplica) -> None:
        """Put a replica on its worker."""
        node = self.nodes[replica.node]
        node.replicas[replica.key] = replica
        self.weigh(node)

    def drop(self, replica: KnownReplica) -> None:
        """Take a replica off its worker."""
        node = self.nodes[replica.node]
        del node.replicas[replica.key]
        self.weigh(node)

    def resize(self, replica: KnownReplica, need: Need) -> None:
        """Let a replica take what is known of it now, on the GPUs that it has."""
        replica.need = evolve(need, gpus=replica.need.gpus)
        self.weigh(self.nodes[replica.node])

    def empty(self, node: KnownNode) -> list[KnownReplica]:
        """Take all replicas off a worker, and return them."""
        replicas = list(node.replicas.values())
        node.replicas.clear()
        self.weigh(node)
        return replicas

    def weigh(self, node: KnownNode) -> None:
        """Bring the index of room and the tally up to date after a change of a node."""
        free = node.free
        self.tally.put(node, free.gpus)
        if node.takes_replicas:
            self.room.put(node.id, has_gpus=node.gpus > 0, free=free, load=len(node.replicas))
        else:
            self.room.remove(node.id)

    # ---- what workers refuse

    def reject(self, node: KnownNode, revision: RevisionKey, reason: str, now: float, until: float) -> None:
        """Give a worker no replica of a revision before ``until``, which is later each time."""
        rejections = node.rejections
        while rejections and rejections[oldest := next(iter(rejections))].until <= now:
            del rejections[oldest]
        rejections.pop(revision, None)
        rejections[revision] = Rejection(reason, until)

    def forgive(self, node: KnownNode) -> list[RevisionKey]:
        """Let a worker have all again, and return what it was not given."""
        forgiven = list(node.rejections)
        node.rejections.clear()
        return forgiven


def _first(queue: dict[str, float]) -> float:
    return next(iter(queue.values()))
