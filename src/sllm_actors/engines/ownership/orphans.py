"""What to do when a leash itself was killed: find what was on it, and kill that."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress

import anyio
import anyio.to_thread

from sllm_actors.engines.environment import MARKER
from sllm_actors.engines.plan import EnginePaths

from .procfs import SharedMemory, processes, start_time, stat_fields

THREADS = 17
"""Which of ``stat_fields`` is the number of threads."""

ROUNDS = 400
PAUSE = 0.025


async def kill_orphans(pid: int, began: int, marker: str, paths: EnginePaths, since: float) -> bool:
    """Kill what is left of an engine whose leash is gone, wait until it is dead, and remove its files.

    Found by process group and session, and by the mark in the environment of those that left both. A process
    that cannot be killed (waiting in a driver) is given up after ten seconds.

    Args:
        pid: The engine's process, which led a group and a session of its own; 0 if it was never learnt.
        began: When it started, in clock ticks since boot. A later process of that number is spared.
        marker: The value of ``SLLM_ENGINE`` in its environment.
        paths: What to remove.
        since: When the leash was started, in seconds since the epoch: no shared memory is older.

    Returns:
        Whether nothing of it is left.
    """
    memory = SharedMemory(since, str(paths.tmpdir))
    dead = False
    for _ in range(ROUNDS):
        dead = not await anyio.to_thread.run_sync(kill_once, pid, began, marker, memory)
        if dead:
            break
        await anyio.sleep(PAUSE)
    await anyio.to_thread.run_sync(remove_files, paths, memory)
    return dead


def kill_once(pid: int, began: int, marker: str, memory: SharedMemory) -> int:
    """Kill what is found of an engine now, and return how many processes that were: call it until none is.

    Blocks. Arguments as of ``kill_orphans``, and ``memory``, which takes note of what they have.
    """
    found = _find(pid, began, marker)
    memory.look(lambda: found)
    alive = 0
    for each in found:
        with suppress(OSError):
            os.kill(each, signal.SIGKILL)
            alive += 1
    return alive


def _find(pid: int, began: int, marker: str) -> list[int]:
    known = pid > 0 and start_time(pid) in (0, began)
    mark = f"{MARKER}={marker}".encode()
    found = []
    for candidate, _ in processes():
        with suppress(OSError, ValueError, IndexError):
            fields = stat_fields(candidate)
            if fields[0] in "ZX" and int(fields[THREADS]) <= 1:  # else a thread of it still lives
                continue
            ours = known and str(pid) in (fields[2], fields[3])
            if ours or _has(candidate, mark):
                found.append(candidate)
    return found


def _has(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def remove_files(paths: EnginePaths, memory: SharedMemory | None = None) -> None:
    """Remove an engine's socket and TMPDIR, and its shared memory, where that is known. Blocks."""
    if memory is not None:
        memory.remove()
    with suppress(OSError):
        paths.socket.unlink()
    shutil.rmtree(paths.tmpdir, ignore_errors=True)
