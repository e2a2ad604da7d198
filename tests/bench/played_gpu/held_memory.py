"""How much of a GPU each process has, where no GPU is: a file for each, in the folder ``PLAYED_GPU``."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 2**20
TOTAL = 81_559
"""MiB that the GPU has."""

CONTEXT = 500
"""MiB that the driver takes for itself in each process that uses the GPU."""


def folder() -> Path:
    """Return where the files are."""
    return Path(os.environ["PLAYED_GPU"])


def hold(mib: int) -> None:
    """Say how much this process has."""
    draft = folder() / f".{os.getpid()}"
    draft.write_text(str(mib))
    draft.rename(folder() / str(os.getpid()))


def holders() -> dict[int, int]:
    """Return the MiB of each process that lives; what a dead one had is free at once."""
    held = {}
    for file in folder().glob("[0-9]*"):
        try:
            state = Path(f"/proc/{file.name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            held[int(file.name)] = int(file.read_text())
    return held
