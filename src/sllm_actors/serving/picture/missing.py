"""What workers lack for a replica: told to people, and asked by the plan of a deployment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from itertools import islice

from attrs import frozen

from sllm_actors.models.byte_size import shown_bytes
from sllm_actors.serving.decisions.start_cost import StartCosts
from sllm_actors.serving.deployment.contradictions import AUTO

from .deployment import Deployment, Revision
from .fleet import WORKER, Fleet
from .node import KnownNode, Link
from .replica import KnownReplica
from .room.fitting import fits_without
from .room.ledger import capacity, whole_capacity
from .room.need import Need
from .tiers.resting import level_of, memory_is_short

SHOWN_WORKERS = 8
"""The most workers that a reason names; there may be hundreds."""

SHOWN_HOLDERS = 3
"""The most deployments that are named as those which have the room of a worker."""

LOOKED_AT = 64
"""The most nodes that are looked at where no index tells which of them matter."""


class Figure(Enum):
    """What a worker lacks for a replica. ``REFUSED``: it may not have it, whatever is free there."""

    REFUSED = "refused"
    GPUS = "gpus"
    MEMORY = "memory"
    SLOTS = "slots"


@frozen
class Lack:
    """What keeps a replica from one worker.

    Attributes:
        figure: What it lacks.
        sentence: The same for a person, with the worker's name.
        ever: Whether the worker would have it without its other replicas.
    """

    figure: Figure
    sentence: str
    ever: bool = True


def could_have(node: KnownNode, deployment: Deployment, revision: Revision, now: float) -> bool:
    """Return whether a worker could have a replica of a revision if it had no other ones."""
    if node.inventory is None or not node.takes_replicas:
        return False
    if not node.admits(deployment.uid, revision.number, revision.spec.node_selector, now):
        return False
    return capacity(node.inventory).fits(deployment.need(revision, node.gpus))


def waiting_revision(deployment: Deployment) -> Revision:
    """Return the revision that new replicas of a deployment have now."""
    held = deployment.rolling and bool(deployment.paused)
    return deployment.revisions[deployment.current if held else deployment.target]


def what_is_missing(deployment: Deployment, fleet: Fleet, known: Mapping[str, Deployment], now: float) -> str:
    """Return as a sentence why no worker can take a replica of a deployment, and what would change it.

    Args:
        deployment: One that waits for a place.
        fleet: The workers: at most ``SHOWN_WORKERS`` are named, those with the most free GPUs first.
        known: All deployments, by uid.
        now: Seconds on the head's clock.
    """
    return _missing(deployment, fleet, known, now)[0]


def what_no_worker_has(deployment: Deployment, fleet: Fleet) -> str:
    """Return as a sentence why a replica of a deployment can have no place, whatever runs where.

    "" where a worker that takes replicas could have it if it had no other ones, where there is none, or where
    there are more than ``SHOWN_WORKERS`` that would have to be looked at.
    """
    sentence, ever = _missing(deployment, fleet, {}, 0.0)
    return "" if ever else sentence


def _missing(
    deployment: Deployment, fleet: Fleet, known: Mapping[str, Deployment], now: float
) -> tuple[str, bool]:
    """Return what is missing, and whether it may be there one day on the workers that there are."""
    revision = waiting_revision(deployment)
    lacks: list[str] = []
    figures: set[Figure] = set()
    ever = False
    nodes, count = _looked_at(revision.spec.node_selector, fleet)
    if not count and len(fleet.room):
        return _no_label(revision.spec.node_selector, fleet), False
    for node in nodes:
        lack = _lack(node, deployment, revision, known, now)
        if lack is None:
            return f"{node.name or node.id} is about to get it", True
        lacks.append(lack.sentence)
        figures |= {lack.figure} - {Figure.REFUSED}
        ever = ever or lack.ever
    more = count - len(lacks)
    if more == 0:
        lacks += islice(_away(fleet), SHOWN_WORKERS - len(lacks))
    if not lacks:
        return "no worker is connected: start one with `sllm worker --head HOST:8000`", True
    listed = "; ".join(lacks) + (f"; and {more} more worker{'s' if more > 1 else ''}" if more else "")
    if not figures:
        return listed, True
    need = deployment.need(revision, 1)
    ever = ever or more > 0
    remedy = "" if ever else f": {_remedy(figures, need, revision)}"
    remedy += _estimated(deployment, revision) if Figure.GPUS in figures else ""
    return f"no worker has {_wanted(figures, need)} for it ({listed}){remedy}", ever


def _looked_at(selector: Mapping[str, str], fleet: Fleet) -> tuple[list[KnownNode], int]:
    """Return the workers to be named, the roomiest first, and how many take replicas with these labels."""
    if not selector:
        return [fleet.nodes[node] for node in islice(fleet.room.roomiest(), SHOWN_WORKERS)], len(fleet.room)
    labelled = (fleet.nodes[node] for node in fleet.labels.fewest(selector))
    fit = [node for node in labelled if node.takes_replicas and not node.lacks_label(selector)]
    return fit[:SHOWN_WORKERS], len(fit)


def _no_label(selector: Mapping[str, str], fleet: Fleet) -> str:
    if (missing := fleet.labels.missing(selector)) is not None:
        label = "=".join(missing)
        return f"no worker has the label {label}: start one with `--label {label}`, or change node_selector"
    return f"no worker that takes replicas now has {_listed([f'{n}={v}' for n, v in selector.items()])}"


def _wanted(figures: set[Figure], need: Need) -> str:
    if figures == {Figure.SLOTS}:
        return "a free slot"
    if figures == {Figure.MEMORY}:
        return f"{shown_bytes(need.memory)} of free memory"
    gpus = f"{need.gpus} free GPU{'s' if need.gpus != 1 else ''}"
    if need.gpu_memory:
        some = f"{need.gpus} GPUs" if need.gpus != 1 else "a GPU"
        gpus = f"{shown_bytes(need.gpu_memory)} of free memory on {some}"
    if figures == {Figure.GPUS}:
        return gpus
    also = [f"{shown_bytes(need.memory)} of memory"] if need.memory else []
    return _listed([*([gpus] if need.gpus else []), *also, *(["a slot"] if need.slots else [])])


def _remedy(figures: set[Figure], need: Need, revision: Revision) -> str:
    """Return what helps where no worker has so much, whatever runs there."""
    keys = [("gpu_memory" if need.gpu_memory else "num_gpus")] if Figure.GPUS in figures else []
    if Figure.MEMORY in figures and revision.spec.memory is not None:
        keys.append("memory")
    change = f", or change {_listed(keys)}" if keys else ""
    return f"start a worker with more{change}"


def _estimated(deployment: Deployment, revision: Revision) -> str:
    """Return where the size of its share of a GPU is from that nobody has declared; "" where it has none."""
    if revision.spec.gpu_memory != AUTO:
        return ""
    if (known := deployment.estimate(revision)) is None:
        return "; it takes whole GPUs until a worker has seen its model's files: gpu_memory, as 6G, sets less"
    is_from = f"{shown_bytes(known.memory)} is an estimate ({known.sentence})"
    return f"; {is_from}: a gpu_memory that you give, as 6G, goes before it"


def _lack(
    node: KnownNode,
    deployment: Deployment,
    revision: Revision,
    known: Mapping[str, Deployment],
    now: float,
) -> Lack | None:
    """Return what a worker lacks for a replica; None for nothing."""
    assert node.inventory is not None  # as all that take replicas have said
    name, free, all_of_it = node.name or node.id, node.free, capacity(node.inventory)
    if problem := node.rejects((deployment.uid, revision.number), now):
        return Lack(Figure.REFUSED, problem if f"worker {name}" in problem else f"{name}: {problem}")
    need = deployment.need(revision, node.gpus)
    if not free.has_gpus(need):
        return Lack(Figure.GPUS, f"{name} {_gpus_free(node, need, known)}", all_of_it.has_gpus(need))
    if not free.has_memory(need):
        limits = [limit for limit in (all_of_it.memory, all_of_it.total) if limit is not None]
        sentence = f"{name} {_memory_free(node, need, min(limits), known)}"
        return Lack(Figure.MEMORY, sentence, all_of_it.has_memory(need))
    if not free.has_slot(need):
        holders = _holders(node, known)
        has = f"{name} has {max(0, free.slots or 0)} of {all_of_it.slots} slots free"
        return Lack(Figure.SLOTS, f"{has}: {holders}" if holders else has)
    return None


def _gpus_free(node: KnownNode, need: Need, known: Mapping[str, Deployment]) -> str:
    if node.gpus == 0:
        return "has no GPU"
    if need.gpu_memory and node.inventory is not None:
        size = max(gpu.memory_total for gpu in node.inventory.gpus)
        largest = max(node.free.shares, default=0)
        if need.gpu_memory > size:
            return f"has only {shown_bytes(size)} on a GPU"
        holders = _holders(node, known, lambda needs: bool(needs.gpus))
        return f"has {shown_bytes(largest)} free on the GPU with the most: {holders}"
    if need.gpus > node.gpus:
        return f"has only {node.gpus}"
    holders = _holders(node, known, lambda needs: bool(needs.gpus))
    return f"has {node.free_gpus} of {node.gpus} free" + (f": {holders}" if holders else "")


def _memory_free(node: KnownNode, need: Need, budget: int, known: Mapping[str, Deployment]) -> str:
    if need.memory > budget:
        return f"has only {shown_bytes(budget)}"
    free = max(0, node.free.memory or 0)
    return f"has {shown_bytes(free)} of {shown_bytes(budget)} free: {_holders(node, known)}"


def _holders(
    node: KnownNode,
    known: Mapping[str, Deployment],
    has: Callable[[Need], bool] = lambda need: bool(need.slots),
) -> str:
    """Return which deployments have engines on a worker, and why they keep them, in a few words.

    "" if none has any of which the need is ``has``.
    """
    engines = sorted(key for key, replica in node.replicas.items() if has(replica.need))
    owners = list({key.deployment: known.get(key.uid) for key in engines}.items())
    names = [f"{name}{_why_kept(owner)}" for name, owner in owners[:SHOWN_HOLDERS]]
    if len(owners) > SHOWN_HOLDERS:
        names.append(f"{len(owners) - SHOWN_HOLDERS} more")
    return f"{_listed(names)} {'have them' if len(names) > 1 else 'has it'}" if names else ""


def _why_kept(owner: Deployment | None) -> str:
    """Return why a deployment gives no room to others, in brackets; "" if it may."""
    if owner is not None and owner.spec.pinned:
        return " (pinned)"
    return " (min_instances)" if owner is not None and owner.least else ""


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


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
        if not whole_capacity(node.inventory).fits(deployment.need(revision, node.gpus)):
            continue
        if node.lacks_label(revision.spec.node_selector):
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
        deployment: Of which a replica is looked at.
        costs: What starts and wakes of replicas have taken.
        now: Seconds on the head's clock.
        has_room: Returns whether a replica of a revision would find a place now.
    """

    fleet: Fleet
    deployment: Deployment
    costs: StartCosts
    now: float
    has_room: Callable[[Revision], bool]

    def sleep_level(self, replica: KnownReplica) -> int | None:
        """Return the level at which a replica sleeps that is not needed; None if it is to stop."""
        short = memory_is_short(self.fleet, replica, self.deployment)
        return level_of(replica, self.deployment, self.costs, memory_is_short=short)

    def drains(self, node: str) -> bool:
        """Return whether a worker is being drained."""
        return self.fleet.nodes[node].draining

    def makes_room(self, revision: Revision, replicas: Collection[KnownReplica]) -> bool:
        """Return whether a replica of a revision could have the place of others, all on one worker."""
        node = self.fleet.nodes[next(iter(replicas)).node]
        selector = revision.spec.node_selector
        admitted = node.admits(self.deployment.uid, revision.number, selector, self.now)
        if not (node.takes_replicas and admitted):
            return False
        return fits_without(node, self.deployment.need(revision, node.gpus), replicas)
