"""The task that writes the files beside the database behind the changes of the store."""

from __future__ import annotations

from typing import Final, NoReturn

import anyio
import structlog
from anyio import to_thread

from .problem import StoreProblem
from .store import Store

log = structlog.get_logger("sllm_actors.store")

INTERVAL: Final = 1.0
"""Seconds after a look whether a file is behind."""

SHARE: Final = 0.05
"""The most of the time that is spent on writing: with many deployments files are written less often."""


async def write_behind(store: Store, interval: float = INTERVAL) -> NoReturn:
    """Write the files beside the database, in a thread, whenever they are behind; until this is cancelled.

    A file that cannot be written is logged once, and tried again.

    Args:
        store: The open store. ``Store.close`` writes what is behind at the end.
        interval: See ``INTERVAL``.
    """
    said = ""
    while True:
        began = anyio.current_time()
        problem = ""
        if store.files_are_behind:
            try:
                await to_thread.run_sync(store.write_files)
            except StoreProblem as found:
                problem = str(found)
        if problem and problem != said:
            log.error("store.file_not_written", problem=problem)
        said = problem
        took = anyio.current_time() - began
        await anyio.sleep(max(interval, took / SHARE))
