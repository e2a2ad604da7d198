"""Which workers have room: an index by free GPUs, so that nobody has to look at every worker."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping

_Kind = tuple[bool, int]  # whether the worker has GPUs at all, and how many are free


class RoomIndex:
    """Workers that new replicas may be placed on. A change costs the logarithm of their number."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._workers: dict[_Kind, list[tuple[int, str]]] = {}
        self._entries: dict[str, tuple[_Kind, int]] = {}

    def __len__(self) -> int:
        """Return how many workers are in it."""
        return len(self._entries)

    def put(self, node: str, *, has_gpus: bool, free: int, load: int) -> None:
        """Add or update a worker.

        Args:
            node: Its node id.
            has_gpus: Whether it has any GPU.
            free: How many of its GPUs are free.
            load: How many replicas it has.
        """
        entry = ((has_gpus, free), load)
        known = self._entries.get(node)
        if known == entry:
            return
        if known is not None:
            self.remove(node)
        kind, _ = self._entries[node] = entry
        if kind not in self._workers:
            insort(self._kinds, kind)
            self._workers[kind] = []
        insort(self._workers[kind], (load, node))

    def remove(self, node: str) -> None:
        """Remove a worker, if it is there."""
        entry = self._entries.pop(node, None)
        if entry is None:
            return
        kind, load = entry
        workers = self._workers[kind]
        del workers[bisect_left(workers, (load, node))]
        if not workers:
            del self._workers[kind]
            self._kinds.remove(kind)

    def get(self, node: str) -> tuple[bool, int, int] | None:
        """Return whether a worker has GPUs, how many are free, and its load; None if it is not there."""
        entry = self._entries.get(node)
        return None if entry is None else (*entry[0], entry[1])

    def roomiest(self) -> Iterator[str]:
        """Return the node ids of the workers, those with GPUs before others, the most free GPUs first."""
        for kind in reversed(self._kinds):
            for _, node in self._workers[kind]:
                yield node

    def best(
        self, need: int, need_without: int, same: Mapping[str, int], passes: Callable[[str], bool]
    ) -> str | None:
        """Return the node id of the best worker with enough free GPUs, or None.

        Preferred are, in this order, workers with the fewest replicas of the same deployment, with the
        fewest free GPUs (so that large replicas still find room elsewhere, and those without GPUs keep away
        from them), and with the fewest replicas.

        Args:
            need: How many GPUs the replica takes on a worker that has some.
            need_without: How many it takes on a worker that has none.
            same: How many replicas of the same deployment are on each worker that has any.
            passes: Whether the worker may have the replica.
        """
        best: tuple[int, str] | None = None
        for node in self._with_room(need, need_without):
            if best is not None and same.get(node, 0) >= best[0]:
                continue
            if passes(node):
                best = (same.get(node, 0), node)
                if best[0] == 0:
                    break
        return None if best is None else best[1]

    def _with_room(self, need: int, need_without: int) -> Iterator[str]:
        for has_gpus, free in self._kinds:
            if free >= (need if has_gpus else need_without):
                for _, node in self._workers[has_gpus, free]:
                    yield node
