"""Ray Serve (00590c4): ``python/ray/serve/autoscaling_policy.py`` with the defaults of ``AutoscalingConfig``.

Scale to zero is allowed and the most replicas are as everywhere; the rest is the default: 2 ongoing
requests wanted per replica, at most 5 there, the mean of 30 s counts, up after 30 s and down after 600 s in
which every look said so, below 1 only from 1. From zero it goes to one at once. The controller looks each
second here, not each 0.1 s. A request goes to the less busy of two replicas, by chance; it waits while all
have 5. A replica without a place waits until there is one, the first first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil
from random import Random

from bench.trace_suite.cluster import Cluster, Replica
from bench.trace_suite.workload import Request

TARGET = 2.0
MOST_ONGOING = 5
LOOK = 1.0
LOOK_BACK = 30
UP_DELAY = 30.0
DOWN_DELAY = 600.0


class RayServe:
    """The policy of Ray Serve."""

    def __init__(self, cluster: Cluster, _requests: Sequence[Request]) -> None:
        self._cluster = cluster
        models = range(len(cluster.models))
        self._waiting: list[deque[Request]] = [deque() for _ in models]
        self._ongoing = [0 for _ in models]
        self._seen: list[deque[int]] = [deque(maxlen=LOOK_BACK) for _ in models]
        self._target = [0 for _ in models]
        self._counter = [0 for _ in models]
        self._unplaced: deque[int] = deque()
        self._chance = Random(0)
        cluster.clock.every(LOOK, self._control)

    def arrived(self, request: Request) -> None:
        """Send it, or let it wait."""
        self._waiting[request.model].append(request)
        self._send(request.model)

    def ready(self, replica: Replica) -> None:
        """Send it what waits."""
        self._send(replica.model)

    def ended(self, _replica: Replica, request: Request) -> None:
        """Send what waits."""
        self._ongoing[request.model] -= 1
        self._send(request.model)

    def gone(self, _replica: Replica) -> None:
        """Give the place to the replica that has waited longest for one."""
        self._place()

    def _send(self, model: int) -> None:
        waiting = self._waiting[model]
        while waiting:
            open_ = [each for each in self._cluster.ready[model] if each.load < MOST_ONGOING]
            if not open_:
                return
            two = self._chance.sample(open_, min(2, len(open_)))
            self._ongoing[model] += 1
            self._cluster.send(min(two, key=lambda each: each.load), waiting.popleft())

    def _control(self) -> None:
        for model, seen in enumerate(self._seen):
            seen.append(len(self._waiting[model]) + self._ongoing[model])
            decided = self._decide(model, sum(seen) / len(seen))
            if decided != self._target[model]:
                self._target[model] = decided
                self._scale(model)

    def _decide(self, model: int, requests: float) -> int:
        target = self._target[model]
        running = len(self._cluster.ready[model]) + len(self._cluster.starting[model])
        if running == 0:
            return max(1, target) if requests > 0 else target
        desired = min(ceil(requests / TARGET), self._cluster.profile.max_replicas)
        counter = self._counter[model]
        if desired > target:
            self._counter[model] = max(0, counter) + 1
            if self._counter[model] > int(UP_DELAY / LOOK):
                self._counter[model] = 0
                return desired
        elif desired < target:
            self._counter[model] = min(0, counter) - 1
            if self._counter[model] < -int(DOWN_DELAY / LOOK):
                self._counter[model] = 0
                return desired if target == 1 else max(1, desired)
        else:
            self._counter[model] = 0
        return target

    def _scale(self, model: int) -> None:
        cluster, unplaced = self._cluster, self._unplaced
        there = len(cluster.ready[model]) + len(cluster.starting[model]) + unplaced.count(model)
        unplaced.extend([model] * (self._target[model] - there))
        for _ in range(there - self._target[model]):
            if model in unplaced:
                unplaced.remove(model)
            else:
                cluster.stop([*cluster.starting[model], *sorted(cluster.ready[model], key=_load)][0])
        self._place()

    def _place(self) -> None:
        while self._unplaced and self._cluster.free:
            model = self._unplaced.popleft()
            self._cluster.start(model, max(self._cluster.workers, key=lambda each: each.free))


def _load(replica: Replica) -> int:
    return replica.load
