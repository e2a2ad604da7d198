"""What one replica takes of its worker, and what a worker has free."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.messages import Inventory

EXTERNAL = "external"
"""The backend of servers that other people run: of a worker they take nothing."""


@frozen
class Need:
    """What a replica takes, from its order until its last process has ended.

    Attributes:
        gpus: GPUs, as a whole.
        memory: Bytes of the machine's memory.
        slots: Of the engines that the worker runs at a time.
    """

    gpus: int = 0
    memory: int = 0
    slots: int = 0

    def __add__(self, other: Need) -> Need:
        return Need(self.gpus + other.gpus, self.memory + other.memory, self.slots + other.slots)

    def __sub__(self, other: Need) -> Need:
        return Need(self.gpus - other.gpus, self.memory - other.memory, self.slots - other.slots)


NOTHING = Need()


def need_of(spec: DeploymentSpec, gpus: int) -> Need:
    """Return what a replica takes on a worker that has so many GPUs."""
    return Need(spec.gpus_on(gpus), spec.memory or 0, slots_of(spec.backend))


def need_of_report(report: ReplicaReport) -> Need:
    """Return what a replica takes that a worker runs, where the head does not know its deployment."""
    _, _, backend = report.id.key.deployment.rpartition(":")
    return Need(report.gpus, 0, slots_of(backend))


def slots_of(backend: str) -> int:
    """Return how many slots an engine of a backend takes."""
    return 0 if backend == EXTERNAL else 1


def total(needs: Iterable[Need]) -> Need:
    """Return what several replicas take together."""
    return sum(needs, NOTHING)


@frozen
class Free:
    """What a worker has left. A figure is less than 0 where it has lost what replicas have.

    Attributes:
        gpus: GPUs that no replica has, and engines can get.
        memory: Bytes of memory, or None where it is not limited.
        slots: How many more engines may run, or None where they are not limited.
    """

    gpus: int = 0
    memory: int | None = None
    slots: int | None = None

    def fits(self, need: Need) -> bool:
        """Return whether a replica finds all that it takes."""
        return self.has_gpus(need) and self.has_memory(need) and self.has_slot(need)

    def has_gpus(self, need: Need) -> bool:
        """Return whether there are enough GPUs for a replica."""
        return not need.gpus or need.gpus <= self.gpus

    def has_memory(self, need: Need) -> bool:
        """Return whether there is enough memory for a replica."""
        return not need.memory or self.memory is None or need.memory <= self.memory

    def has_slot(self, need: Need) -> bool:
        """Return whether a replica may run beside the others."""
        return not need.slots or self.slots is None or need.slots <= self.slots

    def without(self, need: Need) -> Free:
        """Return what is left when a replica has what it takes."""
        return Free(
            self.gpus - need.gpus,
            None if self.memory is None else self.memory - need.memory,
            None if self.slots is None else self.slots - need.slots,
        )

    def beside(self, need: Need) -> Free:
        """Return what is left when a replica has given back what it took."""
        return self.without(NOTHING - need)


def capacity(inventory: Inventory) -> Free:
    """Return what a worker has for replicas while it has none."""
    return Free(inventory.usable_gpus, inventory.memory_budget or None, inventory.slots)
