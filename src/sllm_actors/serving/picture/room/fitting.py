"""Would a replica fit on a worker: now, or without some of those that are there."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica

from .ledger import room_left
from .need import Need


def fits_without(node: KnownNode, need: Need, replicas: Iterable[KnownReplica]) -> bool:
    """Return whether a worker would have room for a replica if some of its replicas were gone.

    What others have claimed is theirs.

    Args:
        node: The worker.
        need: What the replica would take there.
        replicas: Replicas of that worker.
    """
    if node.inventory is None:
        return False
    gone = {replica.key for replica in replicas}
    gone |= {replica.key for claim in node.claims.values() for replica in claim.going}
    left = [replica for key, replica in node.replicas.items() if key not in gone]
    left += [claim.replica for claim in node.claims.values()]
    return room_left(node.inventory, left).fits(need)


def room_for_model(node: KnownNode, gpus: int) -> int:
    """Return how many bytes a model can have on a worker that were empty; 0 where that is not known.

    Args:
        node: The worker.
        gpus: How many of its GPUs a replica takes; 0 for the machine's memory.
    """
    if node.inventory is None:
        return 0
    if not gpus:
        return node.inventory.memory_budget or node.inventory.memory_total
    sizes = sorted((gpu.memory_total for gpu in node.inventory.gpus), reverse=True)
    return sum(sizes[:gpus])
