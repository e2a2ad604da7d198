"""The cores, memory and GPUs of this machine, as far as engines care."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

import psutil
import pynvml
from attrs import frozen


@frozen
class GpuDevice:
    """One GPU as its driver shows it. Memory in bytes.

    Attributes:
        uuid: The driver's lasting name of the GPU, by which engines are told to use it.
    """

    uuid: str
    name: str = ""
    memory_total: int = 0
    memory_free: int = 0


@frozen
class Machine:
    """What a machine has. Memory in bytes; ``cpus`` are the cores that this process may use."""

    cpus: int
    memory_total: int
    memory_free: int
    gpus: tuple[GpuDevice, ...]


def inspect_machine(gpus: int | None) -> Machine:
    """Look at the machine; blocks for some milliseconds.

    Args:
        gpus: How many GPUs engines may use, the first of those that the driver shows; None for all of them.
            Where the driver shows fewer, the others are taken to be there, and their number is their name.
    """
    memory = psutil.virtual_memory()
    found = look_at_gpus()
    if gpus is not None:
        found = (*found, *(GpuDevice(str(number)) for number in range(len(found), gpus)))[:gpus]
    return Machine(len(os.sched_getaffinity(0)), memory.total, memory.available, found)


def look_at_gpus() -> tuple[GpuDevice, ...]:
    """Return the GPUs that NVIDIA's driver shows, in its order; none where there is no driver.

    The library is closed again each time: no child process must inherit a descriptor of the driver.
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


def missed_gpus(machine: Machine, gpus: int | None, environment: Mapping[str, str]) -> str:
    """Return what the user of a container for GPUs is told where its driver shows none; else "".

    Args:
        gpus: See ``inspect_machine``.
        environment: Where images for GPUs say which ones NVIDIA's container runtime is to pass in.
    """
    shown = any(gpu.name for gpu in machine.gpus)
    if shown or gpus == 0 or environment.get("NVIDIA_VISIBLE_DEVICES", "void") in ("", "void", "none"):
        return ""
    return (
        "this container sees no GPU, and its image is for machines with GPUs: start it with --gpus all, or,"
        " where there are none, take the image worker-cpu"
    )
