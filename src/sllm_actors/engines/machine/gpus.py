"""Which engine has which GPU of this machine.

A GPU belongs to one engine at a time, over all workers of this user here: whoever has it holds a lock on the
file named after it. The worker takes the lock and hands the descriptor to the engine's leash, so that it is
free only when both have let go of it: a killed worker frees nothing that an engine still uses.
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
"""Seconds between two looks at GPUs that are not free: a lock of another worker tells nobody when it goes."""


def choose_gpus(gpus: Sequence[str], free: Collection[str], count: int) -> tuple[str, ...] | None:
    """Return the GPUs for an engine, or None when too few are free.

    GPUs that are neighbours in the host's order are the best connected, as a rule: the smallest run of free
    neighbours that is large enough is taken from its start, and only without one any that are free.
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
class GpuLoan:
    """What one engine got.

    Attributes:
        gpus: Their UUIDs, in the host's order.
        locks: Descriptors for its leash to hold.
    """

    gpus: tuple[str, ...] = ()
    locks: tuple[int, ...] = ()


def visible(env: Mapping[str, str], pool: GpuPool, loan: GpuLoan) -> dict[str, str]:
    """Return the environment of an engine that sees the GPUs of its loan, and no others."""
    if pool.gpus is None:
        return dict(env)
    return {**env, "CUDA_VISIBLE_DEVICES": ",".join(loan.gpus)}


@frozen
class GpuPool:
    """The GPUs that engines of this worker may use.

    Attributes:
        gpus: UUIDs in the order of the machine, or None where nobody has said which there are: then engines
            get what the environment shows, and nothing is locked.
        folder: The lock files; it exists, and it is the same for all workers of a user.
        withheld: Says which GPUs something occupies that could not be killed.
    """

    gpus: tuple[str, ...] | None
    folder: Path
    withheld: Callable[[], frozenset[str]] = frozenset
    _lent: set[str] = field(factory=set, init=False)
    _guard: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @asynccontextmanager
    async def lend(
        self, count: int, deadline: float, on_wait: Callable[[str], None]
    ) -> AsyncIterator[GpuLoan]:
        """Wait for so many GPUs, and give them back at the end of the context. First come, first served.

        Whoever needs more than are free does not keep the others from what is free.

        Args:
            deadline: When to give up, on the loop's clock.
            on_wait: Told once why it has to wait, in one sentence, when it has to.

        Raises:
            LaunchProblem: There are not that many in this machine, or not by then.
            OSError: A lock file cannot be opened.
        """
        if self.gpus is None or not count:
            yield GpuLoan()
            return
        withheld = len(self.withheld() & set(self.gpus))
        usable = len(self.gpus) - withheld
        if count > usable:
            more = f" beside {_gpus(withheld)} with an engine that cannot be killed" if withheld else ""
            raise LaunchProblem(f"it needs {_gpus(count)}; this worker has {_gpus(usable)}{more}")
        loan = await anyio.to_thread.run_sync(self.take, count)
        why = f"too few of this worker's {_gpus(usable)} are free"
        if loan is None:
            on_wait(f"it waits for {_gpus(count)}: {why}")
        while loan is None:
            if anyio.current_time() >= deadline:
                raise LaunchProblem(f"it waited in vain for {_gpus(count)}: {why}")
            await anyio.sleep(min(LOOK_AGAIN, max(0.0, deadline - anyio.current_time())))
            loan = await anyio.to_thread.run_sync(self.take, count)
        try:
            yield loan
        finally:
            self._give_back(loan)

    @property
    def free(self) -> int:
        """How many no engine of this worker has."""
        return len(set(self.gpus or ()) - self._lent - self.withheld())

    def take(self, count: int) -> GpuLoan | None:
        """Take so many GPUs now, or none. Blocks on the disk.

        Raises:
            OSError: A lock file cannot be opened.
        """
        with self._guard:
            known = self.gpus or ()
            free = set(known) - self._lent - self.withheld()
            held: dict[str, int] = {}
            try:
                while (chosen := choose_gpus(known, free, count)) is not None:
                    wanted = next((gpu for gpu in chosen if gpu not in held), None)
                    if wanted is None:
                        self._lent.update(chosen)
                        return GpuLoan(chosen, tuple(held.pop(gpu) for gpu in chosen))
                    lock = self.lock(wanted)
                    if lock is None:
                        free.discard(wanted)
                    else:
                        held[wanted] = lock
                return None
            finally:
                _close(held.values())

    def lock(self, gpu: str) -> int | None:
        """Return the descriptor of a GPU's lock file that is ours now, or None when it is somebody else's.

        Raises:
            OSError: It cannot be opened.
        """
        return _lock(self.folder / f"{gpu.replace('/', '_')}.lock")

    def _give_back(self, loan: GpuLoan) -> None:
        _close(loan.locks)
        self._lent.difference_update(loan.gpus)


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
