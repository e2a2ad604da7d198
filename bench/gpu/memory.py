"""GPU memory, as NVIDIA's own tool shows it."""

from __future__ import annotations

import subprocess


class NoGpu(Exception):
    """There is none here; the text says so."""


def used_mib() -> int:
    """Return the MiB in use on all GPUs together.

    Raises:
        NoGpu: NVIDIA's tool is not here, or finds none.
    """
    return sum(int(line) for line in _ask("--query-gpu=memory.used"))


def name() -> str:
    """Return what the first GPU is called.

    Raises:
        NoGpu: See ``used_mib``.
    """
    return next(iter(_ask("--query-gpu=name")), "")


def holders() -> dict[int, int]:
    """Return the MiB that each process holds, by its id.

    Raises:
        NoGpu: See ``used_mib``.
    """
    return parse_holders(_ask("--query-compute-apps=pid,used_memory"))


def parse_holders(lines: list[str]) -> dict[int, int]:
    """Read ``pid, MiB`` lines; a process on several GPUs has one line for each. ``[N/A]`` counts as 0."""
    held: dict[int, int] = {}
    for line in lines:
        pid, _, mib = line.partition(",")
        held[int(pid)] = held.get(int(pid), 0) + (int(mib) if mib.strip().isdigit() else 0)
    return held


def _ask(query: str) -> list[str]:
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        raise NoGpu("this measures GPUs, and nvidia-smi finds none here") from None
    return [line for line in done.stdout.splitlines() if line.strip()]
