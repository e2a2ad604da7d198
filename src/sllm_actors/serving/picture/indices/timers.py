"""Deployments that wait for a time to come."""

from __future__ import annotations

import heapq


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


def sooner(first: float | None, second: float | None) -> float | None:
    """Return the earlier one of two times; None stands for never."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
