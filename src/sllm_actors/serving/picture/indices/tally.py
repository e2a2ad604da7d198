"""How many there are of what, counted as it changes: nobody has to walk over all nodes to know."""

from __future__ import annotations

from collections import Counter

from attrs import frozen

from sllm_actors.serving.picture.node import KnownNode


@frozen
class NodeCounts:
    """What one node adds to the tally.

    Attributes:
        kind: Its role, and how its link is.
        gpus: How many GPUs it has; 0 unless it is up.
        free_gpus: How many of these are free.
        replicas: How many replicas it has.
    """

    kind: tuple[str, str]
    gpus: int
    free_gpus: int
    replicas: int


class Tally:
    """Totals over all nodes. A change of one node costs the same however many there are.

    Attributes:
        nodes: How many there are, by role and link.
        gpus: How many GPUs the workers that are up have.
        free_gpus: How many of these are free.
        replicas: How many replicas there are, with those that are ending.
    """

    def __init__(self) -> None:
        self.nodes: Counter[tuple[str, str]] = Counter()
        self.gpus = 0
        self.free_gpus = 0
        self.replicas = 0
        self._counted: dict[str, NodeCounts] = {}

    def put(self, node: KnownNode, free_gpus: int) -> None:
        """Add a node with so many free GPUs, or count it anew."""
        up = node.link == "up"
        kind = (node.role, node.link.value)
        counts = NodeCounts(kind, node.gpus if up else 0, free_gpus if up else 0, len(node.replicas))
        if self._counted.get(node.id) != counts:
            self.forget(node)
            self._counted[node.id] = counts
            self._add(counts, 1)

    def forget(self, node: KnownNode) -> None:
        """Count a node no longer, if it is counted."""
        counts = self._counted.pop(node.id, None)
        if counts is not None:
            self._add(counts, -1)

    def _add(self, counts: NodeCounts, sign: int) -> None:
        self.nodes[counts.kind] += sign
        self.gpus += sign * counts.gpus
        self.free_gpus += sign * counts.free_gpus
        self.replicas += sign * counts.replicas
