"""A lock on one GPU of this machine, or on a share of its memory, held by whoever has the descriptor open.

The kernel keeps the ledger, for all workers of a user: in the lock file of a GPU each byte stands for a MiB
of its memory, and an engine has locked as many bytes as MiB are kept for it. One more byte stands for the
GPU being in use: an engine that has the whole GPU has locked it alone, those that share it lock it together,
and one that sleeps does not lock it. The locks are of the open file (``F_OFD_SETLK``), which the engine's
leash gets from the worker: they are free when both have closed it, and not before.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator

from attrs import define, field

MIB = 2**20

LEAST = 0.5
"""The part of a GPU's memory that an engine which wants the whole GPU finds at least, beside sleepers."""

IN_USE = 2**50
"""The byte of a lock file that stands for the GPU being in use."""

_FLOCK = "hhqqi4x"  # ``struct flock`` of 64-bit Linux: type, whence, start, length, process


@define(eq=False)
class GpuLock:
    """The lock file of one GPU, open, and what is locked in it by this opening of it. Calls do not block.

    Attributes:
        gpu: The UUID of the GPU.
        descriptor: The open file, to be closed by whoever has it.
        size: MiB that the GPU has; 0 where that is not known.
        share: MiB of it that the engine is to have while it is awake; 0 for the whole GPU.
    """

    gpu: str
    descriptor: int
    size: int
    share: int
    _least: int = field(init=False)
    _ranges: list[tuple[int, int]] = field(factory=list)  # starts and lengths

    def __attrs_post_init__(self) -> None:
        self._least = self.share or int(LEAST * self.size)

    @property
    def memory(self) -> int:
        """Bytes of the GPU that are locked; 0 where its size is not known."""
        return MIB * sum(length for _, length in self._ranges)

    def close(self) -> None:
        """Close the file here. The leash, if it has it open too, still holds the lock."""
        os.close(self.descriptor)

    def take(self) -> bool:
        """Lock what the engine has while it is awake; return False, and change nothing, if it cannot."""
        if not self._set(fcntl.F_RDLCK if self.share else fcntl.F_WRLCK, IN_USE, 1):
            return False
        before = list(self._ranges)
        missing = (self.share or self.size) - sum(length for _, length in before)
        for start, length in [*self._unlocked(0, self.size)]:
            mine = any(begun <= start < begun + size for begun, size in before)
            part = 0 if mine else min(length, missing)
            if part > 0 and self._set(fcntl.F_WRLCK, start, part):  # else another worker was faster
                self._ranges.append((start, part))
                missing -= part
        if (self.share or self.size) - missing >= self._least:
            return True
        for start, length in self._ranges[len(before) :]:
            self._set(fcntl.F_UNLCK, start, length)
        self._ranges = before
        self._set(fcntl.F_UNLCK, IN_USE, 1)
        return False

    def keep_only(self, memory: int, awake: int | None = None) -> None:
        """Give back all but so many bytes, for as long as the engine sleeps; then ``take`` takes it again.

        Args:
            memory: The bytes to keep.
            awake: The fewest bytes with which the engine can wake; None for all that it has now.
        """
        had = self.memory // MIB
        self._least = had if awake is None else min(had, -(-awake // MIB))
        self.give_back(memory)

    def give_back(self, memory: int) -> None:
        """Keep only so many bytes, as the engine did before it was to wake: it could not."""
        surplus = (self.memory - memory) // MIB
        while surplus > 0 and self._ranges:
            start, length = self._ranges.pop()
            part = min(length, surplus)
            self._set(fcntl.F_UNLCK, start + length - part, part)
            surplus -= part
            if part < length:
                self._ranges.append((start, length - part))
        self._set(fcntl.F_UNLCK, IN_USE, 1)

    def unlocked(self) -> int:
        """Return how many MiB nobody else has; 0 where another engine has the whole GPU."""
        if self._conflict(fcntl.F_RDLCK, IN_USE, 1) is not None:
            return 0
        return sum(length for _, length in self._unlocked(0, self.size))

    # ---- inside

    def _unlocked(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Return what others have not locked between two positions: starts and lengths, in order.

        What this lock has is among it, as pieces of their own.
        """
        conflict = self._conflict(fcntl.F_WRLCK, start, end - start) if start < end else None
        if conflict is not None:
            begun, length = conflict
            yield from self._unlocked(start, begun)
            yield from self._unlocked(begun + length if length else end, end)
            return
        for begun, length in sorted(self._ranges):
            if start < begun < end:
                yield start, begun - start
            if start <= begun < end:
                yield begun, length
                start = begun + length
        if start < end:
            yield start, end - start

    def _conflict(self, kind: int, start: int, length: int) -> tuple[int, int] | None:
        asked = struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
        said = fcntl.fcntl(self.descriptor, fcntl.F_OFD_GETLK, asked)
        kind, _, start, length, _ = struct.unpack(_FLOCK, said)
        return None if kind == fcntl.F_UNLCK else (start, length)

    def _set(self, kind: int, start: int, length: int) -> bool:
        asked = struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, asked)
        except BlockingIOError:
            return False
        return True
