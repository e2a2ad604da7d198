"""What workers lack for a replica: told to people, and asked by the plan of a deployment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice

from attrs import frozen

from .deployment import Deployment, Revision
from .fleet import WORKER, Fleet
from .node import KnownNode, Link
from .replica import KnownReplica

SHOWN_WORKERS = 8
"""The most workers that a reason names; there may be hundreds."""

LOOKED_AT = 64
"""The most nodes that are looked at for those that take no replica now."""


def waiting_revision(deployment: Deployment) -> Revision:
    """Return the revision that new replicas of a deployment have now."""
    held = deployment.rolling and bool(deployment.paused)
    return deployment.revisions[deployment.current if held else deployment.target]


def what_is_missing(deployment: Deployment, fleet: Fleet, now: float) -> str:
    """Return as a sentence why no worker can take a replica of a deployment.

    Args:
        deployment: One that waits for a place.
        fleet: The workers: at most ``SHOWN_WORKERS`` are named, those with the most free GPUs first.
        now: Seconds on the head's clock.
    """
    revision = waiting_revision(deployment)
    lacks, room = [], False
    for node in islice(fleet.room.roomiest(), SHOWN_WORKERS):
        lack, short = _lack(fleet.nodes[node], deployment, revision, now)
        if not lack:
            return f"{fleet.nodes[node].name or node} is about to get it"
        lacks.append(lack)
        room = room or short
    more = len(fleet.room) - len(lacks)
    if more == 0:
        lacks += islice(_away(fleet), SHOWN_WORKERS - len(lacks))
    if not lacks:
        return "no worker is connected: start one with `sllm worker --head HOST:8000`"
    listed = "; ".join(lacks) + (f"; and {more} more worker{'s' if more > 1 else ''}" if more else "")
    if not room:
        return listed
    gpus = revision.spec.gpus
    return f"no worker has {gpus} free GPU{'s' if gpus != 1 else ''} for it ({listed})"


def _lack(node: KnownNode, deployment: Deployment, revision: Revision, now: float) -> tuple[str, bool]:
    """Return what a worker lacks, "" for nothing, and whether that is GPUs."""
    name, total = node.name or node.id, node.gpus
    if problem := node.rejects((deployment.uid, revision.number), now):
        return (problem if f"worker {name}" in problem else f"{name}: {problem}"), False
    needs = revision.spec.gpus_on(total)
    if needs <= node.free_gpus:
        return "", False
    if total == 0:
        return f"{name} has no GPU", True
    if needs > total:
        return f"{name} has only {total}", True
    return f"{name} has {node.free_gpus} of {total} free", True


def _away(fleet: Fleet) -> Iterator[str]:
    """Return what keeps workers from taking any replica, one sentence each."""
    for node in islice(fleet.after(""), LOOKED_AT):
        name = node.name or node.id
        if node.role != WORKER or node.link is Link.DOWN or node.takes_replicas:
            continue
        if node.link is Link.SUSPECT:
            yield f"the link with {name} is lost: {node.reason}"
        elif node.draining:
            yield f"{name} is being drained"
        else:
            yield f"{name} has not said yet what it has"


def refused_by_all(deployment: Deployment, revision: Revision, fleet: Fleet, now: float) -> str:
    """Return why each worker that is large enough for a revision refused it; "" if one did not."""
    reason = ""
    for node in fleet.nodes.values():
        if node.inventory is None or node.link is Link.DOWN or node.draining:
            continue
        if revision.spec.gpus_on(node.gpus) > node.gpus:
            continue
        refusal = node.rejects((deployment.uid, revision.number), now)
        if not refusal:
            return ""
        reason = reason or f"{node.name or node.id} refused it: {refusal}"
    return reason


@frozen
class WorkersFor:
    """The workers, as ``rollout.plan`` looks at them for one deployment at one time.

    Attributes:
        fleet: All nodes.
        uid: The deployment.
        now: Seconds on the head's clock.
        has_room: Returns whether a replica of a revision would find a place now.
    """

    fleet: Fleet
    uid: str
    now: float
    has_room: Callable[[Revision], bool]

    def drains(self, node: str) -> bool:
        """Return whether a worker is being drained."""
        return self.fleet.nodes[node].draining

    def makes_room(self, revision: Revision, replicas: Collection[KnownReplica]) -> bool:
        """Return whether a replica of a revision could have the place of others, all on one worker."""
        node = self.fleet.nodes[next(iter(replicas)).node]
        if not node.takes_replicas or node.rejects((self.uid, revision.number), self.now):
            return False
        freed = node.spare_gpus + sum(replica.gpus for replica in replicas)
        return freed >= revision.spec.gpus_on(node.gpus)
