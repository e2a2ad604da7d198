"""Which worker a new replica goes to: GPUs are counted, and load is spread."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen


@frozen
class Candidate:
    """A worker that could run the new replica.

    Attributes:
        node: The worker's node id.
        needs: How many of its GPUs the replica would take.
        free_gpus: How many of its GPUs no replica has, or is to get.
        same: How many replicas of the same deployment it has.
        replicas: How many replicas it has.
    """

    node: str
    needs: int
    free_gpus: int
    same: int
    replicas: int


def choose(candidates: Iterable[Candidate]) -> str | None:
    """Return the node id of the best worker with enough free GPUs, or None.

    Preferred are, in this order, workers with the fewest replicas of the same deployment, with the fewest
    free GPUs (so that large replicas still find room elsewhere, and those without GPUs keep away from them),
    and with the fewest replicas.
    """
    fitting = [c for c in candidates if c.free_gpus >= c.needs]
    best = min(fitting, key=lambda c: (c.same, c.free_gpus, c.replicas, c.node), default=None)
    return None if best is None else best.node
