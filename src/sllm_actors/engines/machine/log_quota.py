"""The limit on the disk space of a worker's logs. Blocks on the disk: call it in a thread."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger("sllm_actors.engines")

MOST_KEPT = 256 * 1024 * 1024
"""The most bytes of all logs together before logs of replicas that are gone are removed."""

LEAST = 64 * 1024
"""The least bytes that a log counts for, so that the number of small logs is limited, too."""


def drop_old_logs(logs: Path, present: Callable[[], Collection[Path]], most: int = MOST_KEPT) -> None:
    """Remove logs of replicas that are gone, the oldest first, until all logs have ``most`` bytes together.

    Args:
        logs: The folder that has a folder for each replica.
        present: Returns the log folders of the worker's present replicas, which are never removed; asked
            again before each removal, since a replica may begin meanwhile.
        most: Bytes of all logs together, each counted as ``LEAST`` or more.
    """
    found = sorted(_ages_and_sizes(logs))
    over = sum(size for _, size, _ in found) - most
    for _, size, folder in found:
        if over > 0 and folder not in present():
            shutil.rmtree(folder, ignore_errors=True)
            log.info("log.removed", folder=folder.name, size=size)
            over -= size


def _ages_and_sizes(logs: Path) -> list[tuple[float, int, Path]]:
    found = []
    for folder in logs.iterdir():
        with suppress(OSError):  # a file that is rotated away in this moment
            parts = [path.stat() for path in folder.iterdir()]
            newest = max((part.st_mtime for part in parts), default=folder.stat().st_mtime)
            found.append((newest, max(LEAST, sum(part.st_size for part in parts)), folder))
    return found
