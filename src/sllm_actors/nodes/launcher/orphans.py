"""Orphans that become children of a launcher, as it is the first process of a container."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import anyio
from anyio import to_thread

from sllm_actors.engines.ownership.procfs import children, stat_fields

LOOK: Final = 1.0
"""Seconds between two looks at the children of this process."""


async def reap_orphans(ours: Callable[[], Collection[int]]) -> None:
    """Reap what processes below this one leave behind as they end; never returns.

    The kernel makes the first process of a container the parent of every orphan there, as of the leash of an
    engine whose worker was killed. One that has ended stays a zombie until its parent asks for its status.

    Args:
        ours: Returns the children that somebody here waits for: they are left alone.
    """
    seen: set[int] = set()
    while True:
        await anyio.sleep(LOOK)
        seen = await to_thread.run_sync(reap, seen, set(ours()))


def reap(seen: set[int], ours: set[int]) -> set[int]:
    """Reap the zombies that the look before has seen; return those that there are now.

    A child that was started just now, and died at once, may not be known as one of ours yet.
    """
    ended = {pid for pid in children() if _has_ended(pid)} - ours
    for pid in ended & seen:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return ended


def _has_ended(pid: int) -> bool:
    try:
        return stat_fields(pid)[0] == "Z"
    except (OSError, IndexError):
        return False  # reaped just now
