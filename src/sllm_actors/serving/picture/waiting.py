"""Deployments that wait: for room, in queues by what a replica needs, and for a time to come."""

from __future__ import annotations

import heapq
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


class Timers:
    """When deployments are to be planned though nothing has happened to them: one time for each at most.

    Setting one costs the logarithm of their number.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, uid: str, when: float | None) -> None:
        """Let a deployment be due at ``when`` instead of what was set before; None: not at all."""
        if when is None:
            self._times.pop(uid, None)
        elif self._times.get(uid) != when:
            self._times[uid] = when
            heapq.heappush(self._heap, (when, uid))
            if len(self._heap) > 64 + 4 * len(self._times):  # most of them are out of date
                self._heap = [(time, each) for each, time in self._times.items()]
                heapq.heapify(self._heap)

    def due(self) -> float | None:
        """Return when the first deployment is due, or None."""
        while self._heap:
            when, uid = self._heap[0]
            if self._times.get(uid) == when:
                return when
            heapq.heappop(self._heap)
        return None

    def pop(self, now: float) -> list[str]:
        """Return the uids of the deployments that are due, which are set no longer."""
        due = []
        while (when := self.due()) is not None and when <= now:
            _, uid = heapq.heappop(self._heap)
            del self._times[uid]
            due.append(uid)
        return due
