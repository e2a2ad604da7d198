"""How long starting a replica and serving a request have taken: what a waiting request may expect. Pure."""

from __future__ import annotations

from typing import Final

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.gateway.routing.route import Route

from .place import UNLIMITED

WEIGHT: Final = 0.3
"""How much the newest measurement counts against all before it."""

MOST_STARTS: Final = 512
"""Replicas whose start is measured at a time."""


class Measured:
    """Measured times of one deployment, in seconds by one monotonic clock; each is a moving average.

    Attributes:
        start: From when a replica was first heard to be starting until it was ready; None before the first.
        service: From when a request was sent to a replica until its end; None before the first.
    """

    def __init__(self) -> None:
        self.start: float | None = None
        self.service: float | None = None
        self._starting: dict[tuple[str, ReplicaKey], float] = {}
        self._told = 0.0  # by the head, which has seen more starts than this gateway
        self._wakes = 0.0  # the same of a wake, while that is all that is waited for

    def follow(self, route: Route, now: float) -> None:
        """Take a new route: a replica that was starting and is ready now has taken so long."""
        coming = {(node, replica.key) for node, replica in route.coming}
        for upstream in route.ready:
            since = self._starting.pop((upstream.node, upstream.id.key), None)
            if since is not None:
                self.start = _average(self.start, now - since)
        for key in list(self._starting):
            if key not in coming:
                del self._starting[key]
        for key in coming:
            if len(self._starting) < MOST_STARTS:
                self._starting.setdefault(key, now)
        if route.served is not None:
            self._told = route.served.starts_in
            self._wakes = route.served.wakes_in if route.asleep and not coming else 0.0

    def served(self, seconds: float) -> None:
        """Take how long a request took that was served."""
        self.service = _average(self.service, seconds)

    def wait(self, ahead: int, rooms: int, now: float) -> float | None:
        """Return how long a request is expected to wait, or None if what that takes was not measured.

        Args:
            ahead: How many requests go before it.
            rooms: How many requests all ready replicas take at a time; 0 if none is ready.
            now: The time.
        """
        if rooms:
            if rooms >= UNLIMITED:
                return 0.0
            return None if self.service is None else self.service * (ahead + 1) / rooms
        if self._wakes:
            return self._wakes
        start = self.start or self._told
        if not start:
            return None
        since = min(self._starting.values(), default=now)
        return max(0.0, start - (now - since))


def _average(known: float | None, new: float) -> float:
    return new if known is None else known + WEIGHT * (new - known)
