"""Ending an engine whose leash was killed: find its processes, kill them, and remove its files."""

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
"""The index in ``stat_fields`` of the number of threads."""

ROUNDS = 400  # together with PAUSE: ten seconds
PAUSE = 0.025


async def kill_orphans(pid: int, began: int, marker: str, paths: EnginePaths, since: float) -> bool:
    """Kill the processes of an engine whose leash is gone, wait until they are dead, and remove its files.

    Its processes are found by process group and session, and those that left both by the marker in their
    environment. A process that cannot be killed (it waits in a driver) is given up after ten seconds.

    Args:
        pid: The engine's process, which led a group and a session; 0 if that was never learnt.
        began: When that process started, in clock ticks since boot: a later one of the same number is spared.
        marker: The value of ``SLLM_ENGINE`` in the engine's environment.
        paths: The socket and TMPDIR to remove.
        since: When the leash was started, in seconds since the epoch: shared memory that is older is spared.

    Returns:
        Whether all its processes are dead.
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
    """Kill the processes of an engine that are found now; return how many there were. Reads /proc: blocks.

    A process that is being forked may be missed: call it again until it returns 0. The arguments are those of
    ``kill_orphans``; ``memory`` learns which shared memory the processes have.
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
    """Remove an engine's socket and TMPDIR, and its shared memory if given. Blocks on the disk."""
    if memory is not None:
        memory.remove()
    with suppress(OSError):
        paths.socket.unlink()
    shutil.rmtree(paths.tmpdir, ignore_errors=True)
