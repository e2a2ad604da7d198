"""How much memory the processes of an engine have: the machine's, and that of its GPUs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final

import anyio.to_thread
import psutil
import pynvml
from attrs import frozen

from .gpus import GpuAllocation

SPARE: Final = 1.1
"""An engine that sleeps keeps so many times the GPU memory that it is seen to have."""

LEAST_KEPT: Final = 512 * 2**20
"""The fewest bytes of a GPU that an engine which sleeps keeps."""


STATIC: Final = 0.9
"""The part of an engine's share of a GPU that its weights and cache may have; the rest is for what it
computes, and for what the driver keeps for it."""


@frozen
class MemoryUse:
    """Bytes that the processes of an engine have now; 0 where that cannot be known.

    Attributes:
        memory: Of the machine's memory. What several processes share counts for each in part.
        gpu_memory: Of the GPU on which they have most.
    """

    memory: int = 0
    gpu_memory: int = 0


class Gauge:
    """Measures one engine.

    Args:
        leash: The process number of its leash, of which all its processes descend.
        allocation: Its GPUs.
    """

    def __init__(self, leash: int, allocation: GpuAllocation) -> None:
        self._leash = leash
        self._allocation = allocation
        self._most = 0

    async def used(self) -> MemoryUse:
        """Measure, in a thread."""
        gpus = self._allocation.gpus
        alone = not self._allocation.shared
        use = await anyio.to_thread.run_sync(_measure, self._leash, gpus, alone, abandon_on_cancel=True)
        self._most = max(self._most, use.gpu_memory)
        return use

    @property
    def needed_awake(self) -> int | None:
        """The bytes of each GPU without which the engine cannot wake; None where that was not measured."""
        return int(self._most * SPARE) or None

    async def kept_asleep(self) -> int | None:
        """Return how many bytes of each GPU an engine which has just fallen asleep keeps.

        None where that cannot be seen: then it keeps all that it has.
        """
        used = (await self.used()).gpu_memory
        return max(LEAST_KEPT, int(used * SPARE)) if used else None


def _measure(leash: int, gpus: Sequence[str], alone: bool) -> MemoryUse:
    pids: set[int] = set()
    memory = 0
    with suppress(psutil.Error):
        for process in psutil.Process(leash).children(recursive=True):
            with suppress(psutil.Error):
                memory += process.memory_full_info().pss
                pids.add(process.pid)
    return MemoryUse(memory, most_on_one(gpus, pids, alone=alone) if gpus else 0)


def most_on_one(gpus: Sequence[str], pids: Collection[int], *, alone: bool) -> int:
    """Return how many bytes processes have of the GPU on which they have most; 0 where that is not known.

    In a container the driver may speak of processes by other numbers. Then all that is in use on a GPU
    counts for the engine, if it is alone there.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return max(_on(gpu, pids, alone=alone) for gpu in gpus)
    except pynvml.NVMLError:
        return 0
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _on(gpu: str, pids: Collection[int], *, alone: bool) -> int:
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    mine = [process.usedGpuMemory or 0 for process in processes if process.pid in pids]
    if mine or not alone:
        return sum(mine)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def least_free(gpus: Sequence[str]) -> int:
    """Return how many bytes of the GPU with the least free memory are free; 0 where that is not known."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        handles = [pynvml.nvmlDeviceGetHandleByUUID(gpu) for gpu in gpus]
        return min((int(pynvml.nvmlDeviceGetMemoryInfo(handle).free) for handle in handles), default=0)
    except pynvml.NVMLError:
        return 0
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def part_of_free(allocation: GpuAllocation, free: int) -> float | None:
    """Return which part of the free memory an engine may use for weights and cache; None for all of it.

    Args:
        allocation: Its GPUs.
        free: Bytes that are free on the GPU with the least; 0 where that is not known.
    """
    if (part := allocation.fraction) is None:
        return None
    return STATIC * (min(1.0, allocation.memory / free) if free else part)
