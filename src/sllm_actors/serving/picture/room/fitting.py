"""Would a replica fit on a worker: now, or without some of those that are there."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica

from .need import Need, total


def fits_without(node: KnownNode, need: Need, replicas: Iterable[KnownReplica]) -> bool:
    """Return whether a worker would have room for a replica if some of its replicas were gone.

    Args:
        node: The worker.
        need: What the replica would take there.
        replicas: Replicas of that worker, each of them once.
    """
    return node.free.beside(total(replica.need for replica in replicas)).fits(need)
