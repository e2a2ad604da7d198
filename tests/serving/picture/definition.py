"""What the picture should come to, said simply: everything is looked at, and no index is used."""

from __future__ import annotations

from math import log2

from attrs import frozen

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.picture.deployment import Deployment, Revision
from sllm_actors.serving.picture.fleet import Fleet
from sllm_actors.serving.picture.node import KnownNode, Link
from sllm_actors.serving.picture.replica import Told
from sllm_actors.serving.picture.room.ledger import room_left


@frozen(order=True)
class Candidate:
    """A worker that could run a new replica; the least is the best."""

    same: int
    lateness: int
    has_gpus: bool
    free: int
    replicas: int
    node: str


def candidate(node: KnownNode, deployment: Deployment, revision: Revision, now: float) -> Candidate | None:
    """Return a worker as a candidate, or None if it may not have a replica, or has no room."""
    if node.link is not Link.UP or not node.loaded or node.inventory is None or node.draining:
        return None
    if node.rejects((deployment.uid, revision.number), now):
        return None
    gpus = node.inventory.gpus
    need = deployment.need(revision, len(gpus))
    free = room_left(
        node.inventory, (*node.replicas.values(), *(each.replica for each in node.claims.values()))
    )
    if not free.fits(need) or not node.inventory.labels.items() >= revision.spec.node_selector.items():
        return None
    same = sum(
        replica.key.uid == deployment.uid and replica.ordered is Told.RUN
        for replica in node.replicas.values()
    )
    starting = sum(
        replica.ordered is Told.RUN and replica.need.slots > 0
        for replica in node.replicas.values()
        if replica.state in (ReplicaState.PENDING, ReplicaState.STARTING)
    )
    download = 60.0 if revision.spec.source_of(0).startswith("hf:") else 0.0  # no worker here has a model
    lateness = round(log2(download + 30.0 + 0.25 * 30.0 * starting))
    return Candidate(same, lateness, bool(gpus), free.gpus, len(node.replicas), node.id)


def choose(fleet: Fleet, deployment: Deployment, revision: Revision, now: float, but: str = "") -> str | None:
    """Return the worker that a new replica should go to, or None."""
    found = [
        each
        for node in fleet.nodes.values()
        if node.id != but and (each := candidate(node, deployment, revision, now)) is not None
    ]
    return min(found).node if found else None
