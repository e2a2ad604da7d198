"""What a worker has left beside its replicas: what these take, GPU by GPU.

A worker says which GPUs its replicas have, and how much of them a sleeper keeps. Of those of which it has not
said that yet, it is reckoned that they get what the worker would give them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import Gpu, Inventory
from sllm_actors.serving.picture.replica import KnownReplica

from .need import Free, Need

LEAST = 0.5
"""The part of a GPU that an engine which wants it whole finds free at least: that of ``GpuLock``."""


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


def room_left(inventory: Inventory, replicas: Iterable[KnownReplica]) -> Free:
    """Return what a worker has left beside some replicas."""
    devices = {gpu.uuid: _device(gpu) for gpu in inventory.gpus}
    unplaced: list[KnownReplica] = []
    memory = slots = 0
    for replica in replicas:
        need = replica.need
        memory, slots = memory + need.memory, slots + need.slots
        if not need.gpus:
            continue
        report = replica.report
        if report is None or not report.devices:
            unplaced.append(replica)
            continue
        asleep = replica.state is ReplicaState.ASLEEP and bool(report.level)
        kept = report.gpu_reserved if asleep or need.gpu_memory else 0
        for uuid in report.devices:
            if (device := devices.get(uuid)) is not None:
                device.hold(kept, asleep=asleep)
    for replica in sorted(unplaced, key=lambda each: each.key):
        for device in _given(list(devices.values()), replica.need):
            device.hold(replica.need.gpu_memory, asleep=False)
    budget = inventory.memory_budget or None
    return Free(
        gpus=sum(device.can_be_whole for device in devices.values()),
        memory=None if budget is None else budget - memory,
        slots=None if inventory.slots is None else inventory.slots - slots,
        shares=tuple(sorted(filter(None, (device.share for device in devices.values())), reverse=True)),
    )


def _device(gpu: Gpu) -> _Device:
    return _Device(gpu.memory_total, not gpu.stuck)


def _given(devices: Sequence[_Device], need: Need) -> list[_Device]:
    """Return the GPUs that the worker would give a replica; full ones too, where there are not enough."""
    if not need.gpu_memory:
        free = [device for device in devices if device.can_be_whole]
        return [*free, *(device for device in devices if device not in free and device.usable)][: need.gpus]
    fit = [device for device in devices if device.share >= need.gpu_memory]
    return sorted(fit, key=lambda device: device.share)[: need.gpus]
