"""One that knows all requests that are still to come.

It works out how many replicas each model would have at each moment if nobody waited. It starts them so
early that they are ready just then, keeps an idle one only if that takes its GPU for less time than
stopping and starting again, and where there is no room takes the idle one that is needed again last
(Belady's rule). Where even that leaves no room, the model whose first request waits longest comes first. It
is what knowing the future is worth to such a rule, not a bound that nobody could beat.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from functools import partial
from math import ceil, inf

from bench.trace_suite.cluster import Cluster, Replica
from bench.trace_suite.profile import Tier
from bench.trace_suite.workload import Request

MARGIN = 0.01
"""Seconds that it starts earlier than it must: what is ready when a request comes was ready before."""


class Oracle:
    """The policy of one that knows the future."""

    def __init__(self, cluster: Cluster, requests: Sequence[Request]) -> None:
        self._cluster = cluster
        profile = cluster.profile
        models = range(len(cluster.models))
        self._waiting: list[deque[Request]] = [deque() for _ in models]
        self._start = [profile.start(model, Tier.MEMORY) + MARGIN for model in cluster.models]
        self._short: set[int] = set()
        mine: list[list[Request]] = [[] for _ in models]
        for request in requests:
            mine[request.model].append(request)
        self._wanted = [Wanted(each, cluster) for each in mine]
        for model, wanted in enumerate(self._wanted):
            for at in wanted.times:
                cluster.clock.at(at - self._start[model], partial(self._look, model))
                cluster.clock.at(at, partial(self._look, model))

    def arrived(self, request: Request) -> None:
        """Send it, or let it wait."""
        self._waiting[request.model].append(request)
        self._send(request.model)
        self._look(request.model)

    def ready(self, replica: Replica) -> None:
        """Send what waits."""
        self._send(replica.model)
        self._look(replica.model)

    def ended(self, replica: Replica, request: Request) -> None:
        """Send what waits, and stop what is not needed."""
        self._send(request.model)
        self._look(request.model)
        if self._short and not replica.load:
            self._fill()

    def gone(self, _replica: Replica) -> None:
        """Give the GPU to the model that needs it first."""
        self._fill()

    def _send(self, model: int) -> None:
        waiting, target = self._waiting[model], self._cluster.profile.target
        for replica in self._cluster.ready[model]:
            while waiting and replica.load < target:
                self._cluster.send(replica, waiting.popleft())

    def _needed(self, model: int, ahead: float) -> int:
        cluster = self._cluster
        load = len(self._waiting[model]) + sum(each.load for each in cluster.ready[model])
        now = min(ceil(load / cluster.profile.target), cluster.profile.max_replicas)
        return max(now, self._wanted[model].most(cluster.clock.now, cluster.clock.now + ahead))

    def _look(self, model: int) -> None:
        cluster = self._cluster
        there = len(cluster.ready[model]) + len(cluster.starting[model])
        keep = self._needed(model, self._start[model] + cluster.profile.stop)
        idle = [each for each in cluster.ready[model] if not each.load]
        for replica in idle[: max(0, there - keep)]:
            cluster.stop(replica)
        if there < self._needed(model, self._start[model]):
            self._short.add(model)
            self._fill()

    def _fill(self) -> None:
        cluster = self._cluster
        for model in sorted(self._short, key=self._urgency):
            while True:
                there = len(cluster.ready[model]) + len(cluster.starting[model])
                if there >= self._needed(model, self._start[model]):
                    self._short.discard(model)
                    break
                worker = cluster.soonest(model)
                if worker is None:
                    self._evict(model)
                    return
                cluster.start(model, worker)

    def _urgency(self, model: int) -> tuple[float, int]:
        waiting = self._waiting[model]
        at = waiting[0].at if waiting else self._wanted[model].next_use(self._cluster.clock.now)
        return at, model

    def _evict(self, model: int) -> None:
        """Stop the idle replica that is needed again last, if that is later than the model that has no
        room."""
        now = self._cluster.clock.now
        idle = [each for each in self._cluster.replicas() if self._is_idle(each) and each.model != model]
        victim = max(idle, key=lambda each: self._wanted[each.model].next_use(now), default=None)
        if victim is not None and self._wanted[victim.model].next_use(now) > self._urgency(model)[0]:
            self._cluster.stop(victim)

    def _is_idle(self, replica: Replica) -> bool:
        return replica in self._cluster.ready[replica.model] and not replica.load


class Wanted:
    """How many replicas of a model there would be at each moment if none of its requests waited.

    Attributes:
        times: When that changes.
    """

    def __init__(self, requests: Sequence[Request], cluster: Cluster) -> None:
        profile = cluster.profile
        self._arrivals = [each.at for each in requests]
        self.times: list[float] = []
        self._counts: list[int] = []
        ends: list[float] = []

        def note(at: float) -> None:
            count = min(ceil(len(ends) / profile.target), profile.max_replicas)
            if count != (self._counts[-1] if self._counts else 0):
                self.times.append(at)
                self._counts.append(count)

        for request in requests:
            while ends and ends[0] <= request.at:
                note(heapq.heappop(ends))
            heapq.heappush(ends, request.at + profile.service(request.prompt, request.answer))
            note(request.at)
        while ends:
            note(heapq.heappop(ends))

    def most(self, begin: float, end: float) -> int:
        """Return the most that are wanted between two times."""
        first, last = bisect_right(self.times, begin) - 1, bisect_right(self.times, end)
        return max(self._counts[max(0, first) : last], default=0)

    def next_use(self, now: float) -> float:
        """Return when the next request comes; infinity if none does."""
        index = bisect_left(self._arrivals, now)
        return self._arrivals[index] if index < len(self._arrivals) else inf
