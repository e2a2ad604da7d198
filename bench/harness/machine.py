"""On what a figure was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

CPUINFO = Path("/proc/cpuinfo")


def machine_facts(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a reader needs to judge a figure; plain JSON values.

    Args:
        packages: Distributions whose installed versions matter; one that is not installed is left out.
    """
    return {
        "cores": len(os.sched_getaffinity(0)),
        "model": cpu_model(CPUINFO.read_text() if CPUINFO.exists() else "") or platform.processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "versions": versions(packages),
    }


def described(machine: Mapping[str, Any]) -> str:
    """Return the facts of a machine in words."""
    return (
        f"{machine['cores']} cores of {machine['model']}, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}"
    )


def cpu_model(cpuinfo: str) -> str:
    """Return the first model name in the text of ``/proc/cpuinfo``, or nothing."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed here."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def load() -> list[float]:
    """Return the load average of the last 1, 5 and 15 minutes: how quiet the machine was."""
    return [round(each, 2) for each in os.getloadavg()]


def busy(seconds: float = 1.0) -> float:
    """Return the share of the processor, from 0 to 1, that is used during the next seconds.

    A load average would still tell of what ended a minute ago: of the benchmark before this one.
    """
    return psutil.cpu_percent(seconds) / 100
