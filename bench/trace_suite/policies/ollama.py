"""Ollama (fb30760): ``server/sched.go``.

A model has one runner. A request whose model is loaded goes there at once. All others pass one by one:
while one waits for room, those behind it wait too. If there is no room it takes, of the idle runners, the
one with the shortest keep alive, of equal ones the first by name; if none is idle, the first of all by the
same order, which then ends as soon as it is idle, while it still gets requests. A runner that is idle for 5
minutes is unloaded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial

from bench.trace_suite.cluster import Cluster, Replica, State
from bench.trace_suite.workload import Request

KEEP_ALIVE = 300.0


class Ollama:
    """The policy of Ollama's scheduler."""

    def __init__(self, cluster: Cluster, _requests: Sequence[Request]) -> None:
        self._cluster = cluster
        self._loaded: dict[int, Replica] = {}
        self._waiting: dict[int, list[Request]] = {}  # by model: for its runner to be ready
        self._keep_alive: dict[int, float] = {}
        self._pending: deque[Request] = deque()
        self._expiring: Replica | None = None  # for which the pending loop waits

    def arrived(self, request: Request) -> None:
        """Use the runner, or wait for one."""
        if request.model in self._loaded and self._loaded[request.model].state is not State.ENDING:
            self._use(request)
        else:
            self._pending.append(request)
            self._process()

    def ready(self, replica: Replica) -> None:
        """Serve those who waited for it."""
        for request in self._waiting.pop(replica.model, []):
            self._cluster.send(replica, request)
        self._expire(replica)

    def ended(self, replica: Replica, _request: Request) -> None:
        """Begin to count the time that it is idle."""
        self._expire(replica)

    def gone(self, replica: Replica) -> None:
        """Go on with the request that waited for room."""
        del self._loaded[replica.model]
        del self._keep_alive[replica.model]
        if replica is self._expiring:
            self._expiring = None
        self._process()

    def _use(self, request: Request) -> None:
        replica = self._loaded[request.model]
        if replica.state is State.READY:
            self._cluster.send(replica, request)
        else:
            self._waiting.setdefault(request.model, []).append(request)

    def _process(self) -> None:
        while self._pending and self._expiring is None:
            model = self._pending[0].model
            if model in self._loaded:
                if self._loaded[model].state is State.ENDING:
                    return
                self._use(self._pending.popleft())
            elif (worker := self._cluster.soonest(model)) is not None:
                self._loaded[model] = self._cluster.start(model, worker)
                self._keep_alive[model] = KEEP_ALIVE
                self._use(self._pending.popleft())
            else:
                self._make_room()

    def _make_room(self) -> None:
        runners = sorted(self._loaded.values(), key=lambda each: (self._keep_alive[each.model], each.model))
        victim = next((each for each in runners if self._is_idle(each)), runners[0])
        self._expiring = victim
        self._keep_alive[victim.model] = 0.0
        self._expire(victim)

    def _is_idle(self, replica: Replica) -> bool:
        return not replica.load and replica.model not in self._waiting

    def _expire(self, replica: Replica) -> None:
        """Unload a runner that is idle, now or when its time is over."""
        if replica.state is State.READY and self._is_idle(replica):
            keep_alive = self._keep_alive[replica.model]
            if keep_alive <= 0:
                self._cluster.stop(replica)
            else:
                since = replica.idle_since
                self._cluster.clock.after(keep_alive, partial(self._expire_if_idle, replica, since))

    def _expire_if_idle(self, replica: Replica, since: float) -> None:
        if replica.state is State.READY and self._is_idle(replica) and replica.idle_since == since:
            self._cluster.stop(replica)
