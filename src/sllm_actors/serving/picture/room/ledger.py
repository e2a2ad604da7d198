"""What a worker has left beside its replicas: what these take, GPU by GPU.

A worker says which GPUs its replicas have, and how much of them a sleeper keeps. Of those of which it has not
said that yet, it is reckoned that they get what the worker would give them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from attrs import define, evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.messages import Gpu, Inventory
from sllm_actors.serving.picture.replica import KnownReplica

from .need import Free, Need

LEAST = 0.5
"""The part of a GPU that an engine which wants it whole finds free at least: that of ``GpuLock``."""


NOBODY: Final[Mapping[ReplicaKey, int]] = MappingProxyType({})


@define(eq=False)
class _Device:
    """One GPU.

    Attributes:
        size: Its bytes; 0 where that is not known.
        usable: Whether engines can get it.
        kept: Bytes that are kept for engines which share it, or sleep.
        shared: Whether an engine that is awake has a share of it.
        whole: Whether an engine that is awake has it whole.
    """

    size: int
    usable: bool
    kept: int = 0
    shared: bool = False
    whole: bool = False

    @property
    def can_be_whole(self) -> bool:
        in_use = self.shared or self.whole
        return self.usable and not in_use and self.kept <= (1 - LEAST) * self.size

    @property
    def share(self) -> int:
        return self.size - self.kept if self.usable and not self.whole else 0

    def hold(self, memory: int, *, asleep: bool) -> None:
        self.kept += memory
        self.shared = self.shared or (memory > 0 and not asleep)
        self.whole = self.whole or not memory


def capacity(inventory: Inventory) -> Free:
    """Return what a worker has for replicas while it has none."""
    return room_left(inventory, ())


def whole_capacity(inventory: Inventory) -> Free:
    """Return the same, with the GPUs that engines which cannot be killed hold for now."""
    return capacity(evolve(inventory, gpus=tuple(evolve(gpu, stuck=False) for gpu in inventory.gpus)))


def room_left(
    inventory: Inventory, replicas: Iterable[KnownReplica], asleep: Mapping[ReplicaKey, int] = NOBODY
) -> Free:
    """Return what a worker has left beside some replicas.

    Args:
        inventory: What it has.
        replicas: Those that it runs.
        asleep: Of those that are taken to sleep, how many bytes of each of its GPUs each keeps.
    """
    replicas = tuple(replicas)
    devices = _held(inventory, replicas, asleep).values()
    budget = inventory.memory_budget or None
    memory, slots = sum(each.need.memory for each in replicas), sum(each.need.slots for each in replicas)
    return Free(
        gpus=sum(device.can_be_whole for device in devices),
        memory=None if budget is None else budget - memory,
        slots=None if inventory.slots is None else inventory.slots - slots,
        shares=tuple(sorted(filter(None, (device.share for device in devices)), reverse=True)),
        total=inventory.memory_total or None,
    )


def can_wake(
    inventory: Inventory,
    wakes: KnownReplica,
    others: Iterable[KnownReplica],
    asleep: Mapping[ReplicaKey, int] = NOBODY,
) -> bool:
    """Return whether a replica that sleeps finds, on its own GPUs, what it has while it is awake.

    Args:
        inventory: What its worker has.
        wakes: The replica. What else it takes, it has kept.
        others: Those that the worker runs beside it.
        asleep: See ``room_left``.
    """
    if wakes.report is None or not wakes.need.gpus:
        return True
    devices, share = _held(inventory, others, asleep), wakes.need.gpu_memory
    own = [devices.get(uuid) for uuid in wakes.report.devices]
    return all(each is not None and (each.share >= share if share else each.can_be_whole) for each in own)


def _held(
    inventory: Inventory, replicas: Iterable[KnownReplica], asleep: Mapping[ReplicaKey, int]
) -> dict[str, _Device]:
    """Return the GPUs of a worker, with what replicas have of them."""
    devices = {gpu.uuid: _device(gpu) for gpu in inventory.gpus}
    unplaced: list[KnownReplica] = []
    for replica in replicas:
        need, report = replica.need, replica.report
        if not need.gpus:
            continue
        if report is None or not report.devices:
            unplaced.append(replica)
            continue
        sleeps = replica.key in asleep or (replica.rests and bool(report.level))
        awake = max(need.gpu_memory, report.gpu_reserved) if need.gpu_memory else 0
        kept = report.gpu_reserved if sleeps else awake
        for uuid in report.devices:
            if (device := devices.get(uuid)) is not None:
                device.hold(asleep.get(replica.key, kept), asleep=sleeps)
    for replica in sorted(unplaced, key=lambda each: each.key):
        for device in _given(list(devices.values()), replica.need):
            device.hold(replica.need.gpu_memory, asleep=False)
    return devices


def _device(gpu: Gpu) -> _Device:
    return _Device(gpu.memory_total, not gpu.stuck)


def _given(devices: Sequence[_Device], need: Need) -> list[_Device]:
    """Return the GPUs that the worker would give a replica; full ones too, where there are not enough."""
    if not need.gpu_memory:
        free = [device for device in devices if device.can_be_whole]
        return [*free, *(device for device in devices if device not in free and device.usable)][: need.gpus]
    fit = [device for device in devices if device.share >= need.gpu_memory]
    return sorted(fit, key=lambda device: device.share)[: need.gpus]
