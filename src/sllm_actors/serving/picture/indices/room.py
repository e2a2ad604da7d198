"""Which workers have room: an index by what is free, so that nobody has to look at every worker."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from heapq import merge
from itertools import groupby
from math import inf
from typing import Any

from attrs import define, field, frozen

from sllm_actors.serving.picture.room.need import Free, Need

FEW = 64
"""Of so many workers each is looked at, where only they may have a replica."""

_UNLIMITED = 1 << 10  # more powers of two than any memory has


@frozen(order=True)
class _Kind:
    """Workers that are alike.

    Attributes:
        has_gpus: Whether they have GPUs at all.
        gpus: How many are free.
        open: Whether another engine may run.
        octave: How many binary digits the bytes of free memory have.
        share: The same of the GPU of which an engine can get the largest share.
    """

    has_gpus: bool
    gpus: int
    open: bool
    octave: int
    share: int

    def may_fit(self, need: Need) -> bool:
        """Return whether a replica fits on these workers, or on some of them."""
        if need.slots and not self.open:
            return False
        if need.gpu_memory:
            return self.share >= _octave(need.gpu_memory) and self.octave >= _octave(need.memory)
        return self.gpus >= need.gpus and self.octave >= _octave(need.memory)


@define(eq=False)
class _Workers:
    """The workers of one kind, by how many replicas they have, and by their memory, the most first."""

    by_load: list[tuple[int, str]] = field(factory=list)
    by_memory: list[tuple[float, int, str]] = field(factory=list)


@frozen
class _Entry:
    kind: _Kind
    free: Free
    load: int

    def has(self, need: Need) -> bool:
        """Return whether a replica fits, of which the kind says only that it may."""
        return self.free.has_memory(need) and (not need.gpu_memory or self.free.has_gpus(need))

    def memory(self, node: str) -> tuple[float, int, str]:
        return (-inf if self.free.memory is None else -self.free.memory, self.load, node)


class RoomIndex:
    """Workers that new replicas may be placed on. A change costs the logarithm of their number."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._workers: dict[_Kind, _Workers] = {}
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        """Return how many workers are in it."""
        return len(self._entries)

    def put(self, node: str, *, has_gpus: bool, free: Free, load: int) -> None:
        """Add or update a worker.

        Args:
            node: Its node id.
            has_gpus: Whether it has any GPU.
            free: What it has left.
            load: How many replicas it has.
        """
        open_ = free.slots is None or free.slots > 0
        share = _octave(max(free.shares, default=0))
        kind = _Kind(has_gpus, free.gpus, open_, _octave(free.memory), share)
        entry = _Entry(kind, free, load)
        known = self._entries.get(node)
        if known == entry:
            return
        if known is not None:
            self.remove(node)
        self._entries[node] = entry
        if kind not in self._workers:
            insort(self._kinds, kind)
            self._workers[kind] = _Workers()
        workers = self._workers[kind]
        insort(workers.by_load, (load, node))
        insort(workers.by_memory, entry.memory(node))

    def remove(self, node: str) -> None:
        """Remove a worker, if it is there."""
        entry = self._entries.pop(node, None)
        if entry is None:
            return
        workers = self._workers[entry.kind]
        del workers.by_load[bisect_left(workers.by_load, (entry.load, node))]
        del workers.by_memory[bisect_left(workers.by_memory, entry.memory(node))]
        if not workers.by_load:
            del self._workers[entry.kind]
            self._kinds.remove(entry.kind)

    def get(self, node: str) -> tuple[bool, Free, int] | None:
        """Return whether a worker has GPUs, what is free, and its load; None if it is not there."""
        entry = self._entries.get(node)
        return None if entry is None else (entry.kind.has_gpus, entry.free, entry.load)

    def roomiest(self) -> Iterator[str]:
        """Return the node ids of the workers, those with GPUs before others, the most free GPUs first.

        Of equals come first those on which another engine may run, and those with the most memory.
        """
        for kind in reversed(self._kinds):
            for _, node in self._workers[kind].by_load:
                yield node

    def best(
        self,
        need: Need,
        need_without: Need,
        same: Mapping[str, int],
        passes: Callable[[str], bool],
        among: Collection[str] | None = None,
    ) -> str | None:
        """Return the node id of the best worker with enough room, or None.

        Preferred are, in this order, workers with the fewest replicas of the same deployment, with the
        fewest free GPUs (so that large replicas still find room elsewhere, and those without GPUs keep away
        from them), whose memory is not nearly used up by it, and with the fewest replicas.

        Args:
            need: What the replica takes on a worker that has GPUs.
            need_without: What it takes on a worker that has none.
            same: How many replicas of the same deployment are on each worker that has any.
            passes: Whether the worker may have the replica.
            among: Workers, of which only these may have it; None for all.
        """
        found = self.candidates(need, need_without, same, passes, 1, among)
        return found[0] if found else None

    def candidates(
        self,
        need: Need,
        need_without: Need,
        same: Mapping[str, int],
        passes: Callable[[str], bool],
        most: int,
        among: Collection[str] | None = None,
    ) -> list[str]:
        """Return the node ids of the best workers, ``most`` of them if there are so many, the best one first.

        The arguments are those of ``best``.
        """
        found: list[str] = []
        others: list[tuple[int, int, str]] = []  # those with a replica of the same deployment
        few = among is not None and len(among) <= FEW
        for node in self.of(among or (), need, need_without) if few else self.with_room(need, need_without):
            if passes(node):
                if count := same.get(node, 0):
                    others.append((count, len(others), node))
                else:
                    found.append(node)
            if len(found) >= most:
                return found
        return found + [node for _, _, node in sorted(others)[: most - len(found)]]

    def with_room(self, need: Need, need_without: Need) -> Iterator[str]:
        """Return the workers with enough room, in the order of ``best`` but for the same deployment.

        Those that lack something are not looked at, however many they are.
        """
        fit = (kind for kind in self._kinds if kind.may_fit(need if kind.has_gpus else need_without))
        for (has_gpus, _), alike in groupby(fit, lambda kind: (kind.has_gpus, kind.gpus)):
            wanted = need if has_gpus else need_without
            memory = wanted.memory
            kinds = list(alike)
            surely = [kind for kind in kinds if kind.octave > _octave(memory) or not memory]
            for _, node in merge(*(self._workers[kind].by_load for kind in surely)):
                if self._entries[node].has(wanted):
                    yield node
            perhaps = [self._workers[kind].by_memory for kind in kinds if kind not in surely]
            for least, _, node in merge(*perhaps):
                if -least < memory:
                    break
                if self._entries[node].has(wanted):
                    yield node

    def of(self, nodes: Iterable[str], need: Need, need_without: Need) -> list[str]:
        """Return those of a few workers that have enough room, in the order of ``with_room``."""
        found: list[tuple[tuple[Any, ...], str]] = []
        for node in nodes:
            entry = self._entries.get(node)
            if entry is None:
                continue
            wanted = need if entry.kind.has_gpus else need_without
            if entry.free.fits(wanted):
                surely = entry.kind.octave > _octave(wanted.memory) or not wanted.memory
                place = (0, entry.load, node) if surely else (1, *entry.memory(node))
                found.append(((entry.kind.has_gpus, entry.kind.gpus, *place), node))
        return [node for _, node in sorted(found)]


def _octave(memory: int | None) -> int:
    return _UNLIMITED if memory is None else max(0, memory).bit_length()
