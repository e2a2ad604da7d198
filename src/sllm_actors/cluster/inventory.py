"""What this machine has, as far as engines care."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil
import pynvml
from attrs import frozen


@frozen
class GpuDevice:
    """One GPU as its driver shows it. Memory in bytes.

    Attributes:
        uuid: What names it for ever, and what engines are told to use.
    """

    uuid: str
    name: str = ""
    memory_total: int = 0
    memory_free: int = 0


@frozen
class Machine:
    """Memory in bytes."""

    cpus: int
    memory_total: int
    memory_free: int
    gpus: tuple[GpuDevice, ...]


def inspect_machine(gpus: int | None) -> Machine:
    """Look at the machine; blocks for some milliseconds.

    Args:
        gpus: How many GPUs engines may use, the first ones of the driver's, or None for all that it shows.
            Where it shows fewer, they are believed to be there all the same, and go by their number.
    """
    memory = psutil.virtual_memory()
    found = look_at_gpus()
    if gpus is not None:
        found = (*found, *(GpuDevice(str(number)) for number in range(len(found), gpus)))[:gpus]
    return Machine(len(os.sched_getaffinity(0)), memory.total, memory.available, found)


def look_at_gpus() -> tuple[GpuDevice, ...]:
    """Return what NVIDIA's driver shows, in its order; nothing where there is none.

    The library is closed again each time: a descriptor of the driver must not be inherited by anybody.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_look_at(number) for number in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _look_at(number: int) -> GpuDevice:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:  # some share the memory of their host
        return GpuDevice(uuid, str(pynvml.nvmlDeviceGetName(handle)))
    return GpuDevice(uuid, str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free))
