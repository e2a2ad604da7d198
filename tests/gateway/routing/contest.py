"""Clients of several flows that ask one balancer again and again, on a clock of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random

from attrs import define, field
from tests.gateway.routing.balancing import SMOL, Bench, Request

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.routing.asked import Asked
from sllm_actors.gateway.routing.flow import Flow
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.route import Upstream


@define(eq=False)
class Client(Request):
    """Asks for a slot, has it for a time, and asks again."""

    contest: Contest = field(kw_only=True)
    seconds: Callable[[], float] = field(kw_only=True)
    pause: float = field(kw_only=True)
    until: float = field(kw_only=True)
    began: float = 0.0

    def _hear(self, what: Upstream | ApiError | Lost) -> None:
        assert isinstance(what, Upstream)
        self.contest.serve(self)


class Contest:
    """A deployment with so many slots, and the clients that want them.

    Attributes:
        got: The seconds of slots that each flow has had, those under way too.
        order: The flows of the requests that were let go, in order.
    """

    def __init__(self, *slots: int) -> None:
        self.bench = Bench()
        self.bench.replicas(*slots, hold_limit=10_000, hold_timeout=1e9)
        self.order: list[str] = []
        self._slots = sum(slots)
        self._ended: defaultdict[str, float] = defaultdict(float)
        self._under_way: set[Client] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def clients(
        self,
        number: int,
        flow: Flow,
        seconds: float | Callable[[], float] = 1.0,
        *,
        priority: int = 0,
        comes: float = 0.0,
        pause: float = 0.0,
        until: float = inf,
    ) -> None:
        """Let so many clients ask from when they come, each for a slot for so long, until then."""
        asked = Asked(SMOL, priority, flow=flow)
        for _ in range(number):
            takes = seconds if callable(seconds) else partial(float, seconds)
            client = Client(asked, contest=self, seconds=takes, pause=pause, until=until)
            self._at(comes, partial(self._ask, client))

    def run(self, until: float) -> None:
        """Let time pass; whenever it stands, no slot is free while anybody waits."""
        while self._events and self._events[0][0] <= until:
            self.bench.now, _, do = heappop(self._events)
            do()
            self.bench.turns()
            assert len(self._under_way) == self._slots or not self.bench.balancer.held(SMOL)
        self.bench.now = until

    @property
    def got(self) -> dict[str, float]:
        found = self._ended.copy()
        for client in self._under_way:
            found[client.asked.flow.name] += self.bench.now - client.began
        return dict(found)

    def during(self, begins: float, ends: float) -> dict[str, float]:
        """Return what each flow gets from then until then."""
        self.run(begins)
        before = self.got
        self.run(ends)
        return {name: value - before.get(name, 0.0) for name, value in self.got.items()}

    def serve(self, client: Client) -> None:
        client.began = self.bench.now
        client.hold = None
        self.order.append(client.asked.flow.name)
        self._under_way.add(client)
        self._at(self.bench.now + client.seconds(), partial(self._end, client))

    def _ask(self, client: Client) -> None:
        if self.bench.now >= client.until:
            return
        if self.bench.balancer.take(client.asked, client) is not None:
            self.serve(client)
        else:
            client.hold = self.bench.balancer.hold(client.asked, client)

    def _end(self, client: Client) -> None:
        self._under_way.remove(client)
        self._ended[client.asked.flow.name] += self.bench.now - client.began
        # A client that asks again is behind the one that waits for the slot which it frees.
        self._at(self.bench.now + client.pause, partial(self._ask, client))
        self.bench.done(client)

    def _at(self, when: float, do: Callable[[], None]) -> None:
        heappush(self._events, (when, next(self._numbers), do))


def about(seconds: float, chance: Random) -> Callable[[], float]:
    """Return what draws lengths of requests, by an exponential distribution."""
    return lambda: chance.expovariate(1 / seconds)
