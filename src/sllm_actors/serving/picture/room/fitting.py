"""Would a replica fit on a worker: now, or without some of those that are there."""

from __future__ import annotations

from collections.abc import Iterable

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.picture.node import KnownNode
from sllm_actors.serving.picture.replica import KnownReplica

from .claim import Demotion
from .ledger import can_wake, room_left
from .need import Need


def fits_without(node: KnownNode, need: Need, replicas: Iterable[KnownReplica]) -> bool:
    """Return whether a worker would have room for a replica if some of its replicas were gone.

    What others have claimed is theirs.

    Args:
        node: The worker.
        need: What the replica would take there.
        replicas: Replicas of that worker.
    """
    return fits_after(node, need, [Demotion(replica) for replica in replicas])


def fits_after(
    node: KnownNode, need: Need, demotions: Iterable[Demotion], wakes: KnownReplica | None = None
) -> bool:
    """Return whether a worker would have room for a replica if some of its replicas had made way.

    What others have claimed is theirs.

    Args:
        node: The worker.
        need: What the replica would take there.
        demotions: What becomes of replicas of that worker.
        wakes: The replica itself, where it sleeps there: it needs the GPUs that it had.
    """
    if node.inventory is None:
        return False
    gone = set() if wakes is None else {wakes.key}
    asleep: dict[ReplicaKey, int] = {}
    for each in (*demotions, *(going for claim in node.claims.values() for going in claim.going)):
        if each.level is None:
            gone.add(each.replica.key)
        else:
            asleep[each.replica.key] = each.kept
    gone |= {claim.wakes.key for claim in node.claims.values() if claim.wakes is not None}
    left = [replica for key, replica in node.replicas.items() if key not in gone]
    left += [claim.replica for claim in node.claims.values()]
    if wakes is not None:
        return can_wake(node.inventory, wakes, left, asleep)
    return room_left(node.inventory, left, asleep).fits(need)


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
