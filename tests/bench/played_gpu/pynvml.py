"""As much of NVIDIA's management library as a worker asks, of one played GPU."""

from __future__ import annotations

from types import SimpleNamespace

from tests.bench.played_gpu.held_memory import MIB, TOTAL, holders

UUID = "GPU-11111111-2222-3333-4444-555555555555"


class NVMLError(Exception):
    """Never raised here."""


def nvmlInit() -> None: ...


def nvmlShutdown() -> None: ...


def nvmlDeviceGetCount() -> int:
    return 1


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetHandleByUUID(uuid: str) -> int:
    assert uuid == UUID
    return 0


def nvmlDeviceGetUUID(handle: int) -> str:
    return UUID


def nvmlDeviceGetName(handle: int) -> str:
    return "a played GPU"


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:
    used = sum(holders().values()) * MIB
    return SimpleNamespace(total=TOTAL * MIB, used=used, free=TOTAL * MIB - used)


def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=mib * MIB) for pid, mib in holders().items()]
