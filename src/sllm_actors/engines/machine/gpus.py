"""Which engine has which GPU of this machine.

A GPU belongs to one engine at a time, over all workers of this user on the machine: its owner holds a
``flock`` on the file that is named after the GPU. The worker takes the lock and hands the descriptor to the
engine's leash. The lock is free only when both have closed it: a killed worker frees no GPU that an engine
still uses.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
from attrs import field, frozen

from sllm_actors.engines.errors import LaunchProblem

LOOK_AGAIN = 1.0
"""Seconds between two attempts to get GPUs: nothing tells when another worker gives up a lock."""


def choose_gpus(gpus: Sequence[str], free: Collection[str], count: int) -> tuple[str, ...] | None:
    """Return the GPUs for an engine, or None when too few are free.

    GPUs that are neighbours in the machine's order are the best connected, as a rule. So they are taken from
    the start of the smallest run of free neighbours that is large enough; only if there is none, from all
    free ones.

    Args:
        gpus: UUIDs of all GPUs, in the machine's order.
        free: Those that no engine has.
        count: How many are needed.
    """
    runs: list[list[str]] = [[]]
    for gpu in gpus:
        if gpu in free:
            runs[-1].append(gpu)
        elif runs[-1]:
            runs.append([])
    large = [run for run in runs if len(run) >= count]
    if large:
        return tuple(min(large, key=len)[:count])
    every = [gpu for run in runs for gpu in run]
    return tuple(every[:count]) if len(every) >= count else None


@frozen
class GpuAllocation:
    """The GPUs of one engine.

    Attributes:
        gpus: Their UUIDs, in the machine's order.
        locks: Descriptors of their lock files, for the engine's leash to hold.
    """

    gpus: tuple[str, ...] = ()
    locks: tuple[int, ...] = ()


def visible(env: Mapping[str, str], pool: GpuPool, allocation: GpuAllocation) -> dict[str, str]:
    """Return an engine's environment in which it sees the GPUs that were allocated to it, and no others."""
    if pool.gpus is None:
        return dict(env)
    return {**env, "CUDA_VISIBLE_DEVICES": ",".join(allocation.gpus)}


@frozen
class GpuPool:
    """The GPUs that engines of this worker may use.

    Attributes:
        gpus: UUIDs in the order of the machine, or None where it is not known which there are: then engines
            see the GPUs that the worker's environment shows, and nothing is locked.
        folder: The folder of the lock files, which exists; the same for all workers of a user.
        withheld: Returns the UUIDs of GPUs that are held by engines which could not be killed.
    """

    gpus: tuple[str, ...] | None
    folder: Path
    withheld: Callable[[], frozenset[str]] = frozenset
    _allocated: set[str] = field(factory=set, init=False)
    _guard: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @asynccontextmanager
    async def allocate(
        self, count: int, deadline: float, on_wait: Callable[[str], None]
    ) -> AsyncIterator[GpuAllocation]:
        """Wait for so many GPUs, and give them back at the end of the context.

        Waiting is no queue: an engine that needs more GPUs than are free does not keep others from those.

        Args:
            count: How many GPUs; 0 needs none.
            deadline: When to give up, on the event loop's clock (``anyio.current_time``).
            on_wait: Called once, with the reason in one sentence, if the engine has to wait.

        Raises:
            LaunchProblem: The worker has fewer GPUs, or too few were free until the deadline.
            OSError: A lock file cannot be opened.
        """
        if self.gpus is None or not count:
            yield GpuAllocation()
            return
        withheld = len(self.withheld() & set(self.gpus))
        usable = len(self.gpus) - withheld
        if count > usable:
            more = f" beside {_gpus(withheld)} with an engine that cannot be killed" if withheld else ""
            raise LaunchProblem(f"it needs {_gpus(count)}; this worker has {_gpus(usable)}{more}")
        allocation = await anyio.to_thread.run_sync(self.take, count)
        why = f"too few of this worker's {_gpus(usable)} are free"
        if allocation is None:
            on_wait(f"it waits for {_gpus(count)}: {why}")
        while allocation is None:
            if anyio.current_time() >= deadline:
                raise LaunchProblem(f"it waited in vain for {_gpus(count)}: {why}")
            await anyio.sleep(min(LOOK_AGAIN, max(0.0, deadline - anyio.current_time())))
            allocation = await anyio.to_thread.run_sync(self.take, count)
        try:
            yield allocation
        finally:
            self._give_back(allocation)

    @property
    def free(self) -> int:
        """How many GPUs no engine of this worker has; those of other workers are not seen."""
        return len(set(self.gpus or ()) - self._allocated - self.withheld())

    def take(self, count: int) -> GpuAllocation | None:
        """Take so many GPUs now, or none. Blocks on the disk.

        Raises:
            OSError: A lock file cannot be opened.
        """
        with self._guard:
            known = self.gpus or ()
            free = set(known) - self._allocated - self.withheld()
            held: dict[str, int] = {}
            try:
                while (chosen := choose_gpus(known, free, count)) is not None:
                    wanted = next((gpu for gpu in chosen if gpu not in held), None)
                    if wanted is None:
                        self._allocated.update(chosen)
                        return GpuAllocation(chosen, tuple(held.pop(gpu) for gpu in chosen))
                    lock = self.lock(wanted)
                    if lock is None:
                        free.discard(wanted)
                    else:
                        held[wanted] = lock
                return None
            finally:
                _close(held.values())

    def lock(self, gpu: str) -> int | None:
        """Lock a GPU's lock file and return its descriptor; None when another holds the lock. Does not wait.

        Raises:
            OSError: The file cannot be opened.
        """
        return _lock(self.folder / f"{gpu.replace('/', '_')}.lock")

    def _give_back(self, allocation: GpuAllocation) -> None:
        _close(allocation.locks)
        self._allocated.difference_update(allocation.gpus)


def _lock(path: Path) -> int | None:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _close(locks: Iterable[int]) -> None:
    for lock in locks:
        os.close(lock)


def _gpus(count: int) -> str:
    return "no GPU" if not count else "1 GPU" if count == 1 else f"{count} GPUs"
