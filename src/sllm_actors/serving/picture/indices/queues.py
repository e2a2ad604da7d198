"""Deployments that wait for room, in queues by what a replica needs."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator

LOOKED_AT = 32
"""How many of a queue are looked at when room becomes free: others are tried again after a while."""


class WaitingQueues:
    """Queues of uids by the number of GPUs that a replica needs; in each, who came first is first."""

    def __init__(self) -> None:
        self._needs: list[int] = []
        self._queues: dict[int, dict[str, None]] = {}
        self._need_of: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many deployments wait."""
        return len(self._need_of)

    def __contains__(self, uid: str) -> bool:
        """Return whether a deployment waits."""
        return uid in self._need_of

    def add(self, uid: str, need: int) -> None:
        """Add a deployment at the end of its queue; one that waits with the same need keeps its place."""
        if self._need_of.get(uid) == need:
            return
        self.remove(uid)
        self._need_of[uid] = need
        if need not in self._queues:
            insort(self._needs, need)
            self._queues[need] = {}
        self._queues[need][uid] = None

    def remove(self, uid: str) -> None:
        """Remove a deployment, if it waits."""
        need = self._need_of.pop(uid, None)
        if need is None:
            return
        queue = self._queues[need]
        del queue[uid]
        if not queue:
            del self._queues[need]
            self._needs.remove(need)

    def for_room(self, free: int, fits: Callable[[str], bool]) -> Iterator[str]:
        """Return who should be tried again now that a worker has room, the one with the greatest need first.

        Args:
            free: How many GPUs of the worker are free.
            fits: Whether the worker may have a replica of the deployment.
        """
        left = free
        for need in reversed(self._needs[: bisect_right(self._needs, free)]):
            for turn, uid in enumerate(self._queues[need]):
                if need > left or turn >= LOOKED_AT:
                    break
                if fits(uid):
                    left -= need
                    yield uid
