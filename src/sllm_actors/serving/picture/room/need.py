"""What one replica takes of its worker, and what a worker has free."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.deployment.contradictions import AUTO
from sllm_actors.serving.deployment.spec import DeploymentSpec

EXTERNAL = "external"
"""The backend of servers that other people run: of a worker they take nothing."""


@frozen
class Need:
    """What a replica takes, from its order until its last process has ended.

    Attributes:
        gpus: How many GPUs.
        gpu_memory: Bytes of each of these; 0 if it has them whole.
        memory: Bytes of the machine's memory.
        slots: Of the engines that the worker runs at a time.
    """

    gpus: int = 0
    memory: int = 0
    slots: int = 0
    gpu_memory: int = 0


NOTHING = Need()


def need_of(spec: DeploymentSpec, gpus: int, measured: int = 0, files: int = 0, estimated: int = 0) -> Need:
    """Return what a replica takes on a worker that has so many GPUs.

    Args:
        spec: What it declares goes before what was measured.
        gpus: How many GPUs the worker has.
        measured: The most bytes of memory that such a replica was seen to have; 0 where that is not known.
        files: Bytes of the model's files, or 0. Without GPUs an engine has them in memory, so a replica takes
            as much at least: also while the first one loads them, of which little is to be seen yet.
        estimated: Bytes of each GPU that are reckoned for it where that is asked for; 0 where nothing is
            known of the model yet: then it has whole GPUs.
    """
    taken = spec.gpus_on(gpus)
    share = estimated if spec.gpu_memory == AUTO else spec.gpu_memory or 0
    memory = spec.memory or max(measured, 0 if taken else files)
    return Need(taken, memory, slots_of(spec.backend), share if taken else 0)


def need_of_report(report: ReplicaReport) -> Need:
    """Return what a replica takes that a worker runs, where the head does not know its deployment."""
    _, _, backend = report.id.key.deployment.rpartition(":")
    return Need(report.gpus, report.memory, slots_of(backend), report.gpu_share)


def slots_of(backend: str) -> int:
    """Return how many slots an engine of a backend takes."""
    return 0 if backend == EXTERNAL else 1


@frozen
class Free:
    """What a worker has left; less than 0 of memory or slots where it has lost what replicas have.

    Attributes:
        gpus: GPUs that an engine can get whole.
        memory: Bytes of memory, or None where it is not limited.
        slots: How many more engines may run, or None where they are not limited.
        shares: The bytes that engines can get of each GPU which no engine has whole, the most first.
        total: Bytes of all memory of the machine, more than which no replica can have; None where that is not
            known.
    """

    gpus: int = 0
    memory: int | None = None
    slots: int | None = None
    shares: tuple[int, ...] = ()
    total: int | None = None

    def fits(self, need: Need) -> bool:
        """Return whether a replica finds all that it takes."""
        return self.has_gpus(need) and self.has_memory(need) and self.has_slot(need)

    def has_gpus(self, need: Need) -> bool:
        """Return whether there are enough GPUs for a replica."""
        if need.gpu_memory:
            return need.gpus <= len(self.shares) and need.gpu_memory <= self.shares[need.gpus - 1]
        return need.gpus <= self.gpus

    def has_memory(self, need: Need) -> bool:
        """Return whether there is enough memory for a replica."""
        limits = (self.memory, self.total)
        return not need.memory or all(limit is None or need.memory <= limit for limit in limits)

    def has_slot(self, need: Need) -> bool:
        """Return whether a replica may run beside the others."""
        return not need.slots or self.slots is None or need.slots <= self.slots

    def without(self, need: Need) -> Free:
        """Return what is left at least when a replica that fits has what it takes."""
        shares = list(self.shares)
        for _ in range(need.gpus if need.gpu_memory else 0):
            share = min(each for each in shares if each >= need.gpu_memory)
            shares[shares.index(share)] = share - need.gpu_memory
        return Free(
            max(0, self.gpus - need.gpus),
            None if self.memory is None else self.memory - need.memory,
            None if self.slots is None else self.slots - need.slots,
            tuple(sorted(shares if need.gpu_memory else shares[need.gpus :], reverse=True)),
            self.total,
        )


def share_of(need: Need, capacity: Free) -> float:
    """Return the part of a worker that a replica takes, of what it takes the largest part of; 1 at most.

    Of what is not limited it takes a thousandth part.
    """
    parts = [0.001]
    if need.gpus and need.gpu_memory:
        parts.append(need.gpus * need.gpu_memory / max(1, sum(capacity.shares)))
    elif need.gpus:
        parts.append(need.gpus / max(1, capacity.gpus))
    if need.memory and capacity.memory is not None:
        parts.append(need.memory / max(1, capacity.memory))
    if need.slots and capacity.slots is not None:
        parts.append(need.slots / max(1, capacity.slots))
    return min(1.0, max(parts))
