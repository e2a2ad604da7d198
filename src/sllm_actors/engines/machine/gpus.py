"""Which engine has which GPU of this machine, or how much of its memory.

An engine has a GPU to itself, or a share of its memory, over all workers of this user on the machine: see
``gpu_lock``. The worker takes the lock and hands the descriptor to the engine's leash. The lock is free only
when both have closed it: a killed worker frees no GPU that an engine still uses.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
from attrs import field, frozen

from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.models.byte_size import shown_bytes

from .gpu_lock import MIB, GpuLock

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
    """What one engine has of GPUs.

    Attributes:
        gpus: Their UUIDs, in the machine's order.
        locks: Their locks, in the same order.
        shared: Whether the engine has a share of them, and others may have another one.
    """

    gpus: tuple[str, ...] = ()
    locks: tuple[GpuLock, ...] = ()
    shared: bool = False

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors of the locks, for the engine's leash to hold."""
        return tuple(lock.descriptor for lock in self.locks)

    @property
    def memory(self) -> int:
        """Bytes that are kept for the engine on each of its GPUs; 0 where that is not known."""
        return min((lock.memory for lock in self.locks), default=0)

    @property
    def fraction(self) -> float | None:
        """The part of each GPU's memory that the engine may use; None for all of it."""
        parts = [lock.memory / (lock.size * MIB) for lock in self.locks if lock.size]
        least = min(parts, default=1.0)
        return least if self.shared or least < 1.0 else None

    def keep_only(self, memory: int, awake: int | None = None) -> None:
        """Keep only so many bytes of each GPU while the engine sleeps; see ``GpuLock.keep_only``."""
        for lock in self.locks:
            lock.keep_only(memory, awake)

    async def take_again_within(self, seconds: float) -> bool:
        """Wait so long at most to take again what the engine had before it slept; return whether it did."""
        deadline = anyio.current_time() + seconds
        while not await anyio.to_thread.run_sync(self.take_again):
            if anyio.current_time() >= deadline:
                return False
            await anyio.sleep(min(LOOK_AGAIN, seconds))
        return True

    def take_again(self) -> bool:
        """Take again what the engine had before it slept; return False, and change nothing, if it cannot."""
        before = [lock.memory for lock in self.locks]
        for number, lock in enumerate(self.locks):
            if not lock.take():
                for taken, memory in zip(self.locks[:number], before, strict=False):
                    taken.give_back(memory)
                return False
        return True


def visible(env: Mapping[str, str], pool: GpuPool, allocation: GpuAllocation) -> dict[str, str]:
    """Return an engine's environment in which it sees the GPUs that were allocated to it, and no others.

    An engine with a share finds in ``SLLM_GPU_MEMORY`` how many bytes it has of each.
    """
    if pool.gpus is None:
        return dict(env)
    share = {"SLLM_GPU_MEMORY": str(allocation.memory)} if allocation.shared else {}
    return {**env, **share, "CUDA_VISIBLE_DEVICES": ",".join(allocation.gpus)}


@frozen
class GpuPool:
    """The GPUs that engines of this worker may use.

    Attributes:
        gpus: UUIDs in the order of the machine, or None where it is not known which there are: then engines
            see the GPUs that the worker's environment shows, and nothing is locked.
        folder: The folder of the lock files, which exists; the same for all workers of a user.
        withheld: Returns the UUIDs of GPUs that are held by engines which could not be killed.
        sizes: The bytes of memory that GPUs have, by UUID, where that is known.
    """

    gpus: tuple[str, ...] | None
    folder: Path
    withheld: Callable[[], frozenset[str]] = frozenset
    sizes: Mapping[str, int] = field(factory=dict)
    _engines: Counter[str] = field(factory=Counter, init=False)
    _turns: dict[str, anyio.Semaphore] = field(factory=dict, init=False, repr=False)
    _guard: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @asynccontextmanager
    async def allocate(
        self, count: int, deadline: float, on_wait: Callable[[str], None], *, memory: int = 0
    ) -> AsyncIterator[GpuAllocation]:
        """Wait for so many GPUs, and give them back at the end of the context.

        Waiting is no queue: an engine that needs more GPUs than are free does not keep others from those.

        Args:
            count: How many GPUs; 0 needs none.
            deadline: When to give up, on the event loop's clock (``anyio.current_time``).
            on_wait: Called once, with the reason in one sentence, if the engine has to wait.
            memory: Bytes of each GPU, if it is to be shared; 0 for whole GPUs.

        Raises:
            LaunchProblem: The worker has fewer GPUs, or too few were free until the deadline.
            OSError: A lock file cannot be opened.
        """
        if self.gpus is None or not count:
            yield GpuAllocation()
            return
        withheld = len(self.withheld() & set(self.gpus))
        usable = len(self.gpus) - withheld
        wanted = f"{shown_bytes(memory)} of {_gpus(count)}" if memory else _gpus(count)
        if count > usable:
            more = f" beside {_gpus(withheld)} with an engine that cannot be killed" if withheld else ""
            raise LaunchProblem(f"it needs {_gpus(count)}; this worker has {_gpus(usable)}{more}")
        if memory and sum(self.sizes.get(gpu, 0) >= memory for gpu in self.gpus) < count:
            largest = shown_bytes(max(self.sizes.values(), default=0))
            raise LaunchProblem(f"it needs {wanted}; the largest of this worker has {largest}")
        allocation = await anyio.to_thread.run_sync(self.take, count, memory)
        some = ("little", "is") if memory else ("few", "are")
        why = f"too {some[0]} of this worker's {_gpus(usable)} {some[1]} free"
        if allocation is None:
            on_wait(f"it waits for {wanted}: {why}")
        while allocation is None:
            if anyio.current_time() >= deadline:
                raise LaunchProblem(f"it waited in vain for {wanted}: {why}")
            await anyio.sleep(min(LOOK_AGAIN, max(0.0, deadline - anyio.current_time())))
            allocation = await anyio.to_thread.run_sync(self.take, count, memory)
        try:
            yield allocation
        finally:
            self._give_back(allocation)

    @asynccontextmanager
    async def turn(self, gpus: Sequence[str]) -> AsyncIterator[Callable[[], None]]:
        """Wait until no other engine starts, sleeps or wakes on these GPUs, and keep others from it.

        What an engine finds free as it starts must not change under it. The turn ends with the context, or
        when what it gives is called, which may be called more than once.
        """
        waiting = [self._turns.setdefault(gpu, anyio.Semaphore(1)) for gpu in sorted(gpus)]
        held: list[anyio.Semaphore] = []

        def end() -> None:
            while held:
                held.pop().release()

        try:
            for semaphore in waiting:
                await semaphore.acquire()
                held.append(semaphore)
            yield end
        finally:
            end()

    @property
    def free(self) -> int:
        """How many GPUs no engine of this worker has; those of other workers are not seen."""
        return len(set(self.gpus or ()) - set(+self._engines) - self.withheld())

    def take(self, count: int, memory: int = 0) -> GpuAllocation | None:
        """Take so many GPUs now, or so many bytes of each, or none. Blocks on the disk.

        Raises:
            OSError: A lock file cannot be opened.
        """
        share = -(-memory // MIB)
        with self._guard:
            known = [gpu for gpu in self.gpus or () if gpu not in self.withheld()]
            order = self._by_room(known, share) if share else known
            held: dict[str, GpuLock] = {}
            free = set(known)
            try:
                while (chosen := order[:count] if share else choose_gpus(known, free, count)) is not None:
                    wanted = next((gpu for gpu in chosen if gpu not in held), None)
                    if len(chosen) < count:
                        return None
                    if wanted is None:
                        gpus = tuple(gpu for gpu in known if gpu in chosen)
                        self._engines.update(gpus)
                        return GpuAllocation(gpus, tuple(held.pop(gpu) for gpu in gpus), bool(share))
                    lock = self.open(wanted, share)
                    if lock.take():
                        held[wanted] = lock
                    else:
                        lock.close()
                        free.discard(wanted)
                        order = [gpu for gpu in order if gpu != wanted]
                return None
            finally:
                for lock in held.values():
                    lock.close()

    def open(self, gpu: str, share: int = 0) -> GpuLock:
        """Open the lock file of a GPU; ``take`` then takes the lock, if nobody has it.

        Raises:
            OSError: The file cannot be opened.
        """
        path = self.folder / f"{gpu.replace('/', '_')}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return GpuLock(gpu, descriptor, self.sizes.get(gpu, 0) // MIB, share)

    def _by_room(self, gpus: Sequence[str], share: int) -> list[str]:
        """Return the GPUs with room for a share, the one with the least room first."""
        found: list[tuple[int, str]] = []
        for gpu in gpus:
            lock = self.open(gpu, share)
            try:
                if (free := lock.unlocked()) >= share:
                    found.append((free, gpu))
            finally:
                lock.close()
        return [gpu for _, gpu in sorted(found, key=lambda each: each[0])]

    def _give_back(self, allocation: GpuAllocation) -> None:
        for lock in allocation.locks:
            lock.close()
        self._engines.subtract(allocation.gpus)


def _gpus(count: int) -> str:
    return "no GPU" if not count else "1 GPU" if count == 1 else f"{count} GPUs"
