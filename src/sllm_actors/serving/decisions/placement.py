"""Which worker a new replica goes to. First wave: GPUs are counted, load is spread."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen


@frozen
class Candidate:
    """A worker that could run it.

    Attributes:
        needs: GPUs that the replica would take of it.
        free_gpus: GPUs that no replica has or is to get.
        same: Replicas of the same deployment there.
        replicas: Replicas there.
    """

    node: str
    needs: int
    free_gpus: int
    same: int
    replicas: int


def choose(candidates: Iterable[Candidate]) -> str | None:
    """Return the best worker with room, or None.

    Copies of one deployment are kept apart; a replica that needs GPUs goes where it leaves the fewest over
    (so that a big one still finds room elsewhere), one that needs none keeps away from them.
    """
    fitting = [c for c in candidates if c.free_gpus >= c.needs]
    best = min(fitting, key=lambda c: (c.same, c.free_gpus, c.replicas, c.node), default=None)
    return None if best is None else best.node
