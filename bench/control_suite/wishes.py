"""What the simulated clients want: demand that changes all the time, and requests for what does not run."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence

import anyio
from attrs import define, field

from .churn import TICK
from .fleet import Fleet

REPORT_EVERY = 0.05
"""Seconds for which a gateway gathers changes, as real ones do; a first hold it tells of at once."""

BUSIEST = 6
"""Requests under way for a deployment at all gateways: fewer than one replica should have."""

SERVED_AFTER = 0.3
"""Seconds from a first request that waits until it is over."""


@define
class Wishes:
    """Changes the demand for deployments that run, and asks for idle ones, each time at a gateway at random.

    Attributes:
        fleet: Whose gateways say so.
        running: The deployments whose demand changes.
        idle: The deployments of which nothing runs.
        sent: How many changes of demand were sent, those of idle deployments too.
        waits: Seconds from each first request that waits until a worker had the order.
    """

    fleet: Fleet
    running: Sequence[str]
    idle: Sequence[str]
    sent: int = field(default=0, init=False)
    waits: list[float] = field(factory=list, init=False)
    _wished: int = field(default=0, init=False)
    _asked: dict[str, float] = field(factory=dict, init=False)  # idle ones without an order yet: since when
    _held: list[tuple[float, str, str]] = field(
        factory=list, init=False
    )  # when it ends, at which gateway, what
    _uses: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)
    _random: random.Random = field(factory=lambda: random.Random(11), init=False)

    async def run(self, rate: float, seconds: float) -> None:
        """Change demand at this rate, and ask for each idle deployment once, spread over the time."""
        names = itertools.cycle(self._random.sample(self.running, len(self.running)))
        idle = list(self.idle)
        every = seconds / (len(idle) + 1)
        began = reported = time.perf_counter()
        self.fleet.on_order = self._ordered
        while (passed := time.perf_counter() - began) < seconds:
            if began + passed - reported >= REPORT_EVERY:
                reported = began + passed
                self._end_held(reported)
                for _ in range(math.ceil(passed * rate) - self._wished):
                    self._change(next(names))
                self.sent += self.fleet.report_demand()
            if idle and passed >= (len(self.idle) - len(idle) + 1) * every:
                self._ask(idle.pop())
            await anyio.sleep(TICK)
        self.sent += self.fleet.report_demand()

    async def finish(self) -> None:
        """Let clients want nothing any more, once no request waits for an order; give up after a while."""
        with anyio.move_on_after(10 * SERVED_AFTER):
            while self._asked:  # noqa: ASYNC110 - no event tells of it
                await anyio.sleep(TICK)
        self.fleet.on_order = None
        for gateway in self.fleet.gateways.values():
            gateway.want_nothing()
        self.fleet.report_demand()

    @property
    def missed(self) -> int:
        """How many first requests brought no order."""
        return len(self._asked)

    def _ask(self, name: str) -> None:
        node = self._random.choice(list(self.fleet.gateways))
        now = self._asked[name] = time.perf_counter()
        self._held.append((now + SERVED_AFTER, node, name))
        self._say(node, name, held=1)
        self.sent += self.fleet.report_demand(node)

    def _ordered(self, name: str) -> None:
        if (began := self._asked.pop(name, None)) is not None:
            self.waits.append(time.perf_counter() - began)

    def _end_held(self, now: float) -> None:
        while self._held and self._held[0][0] <= now:
            _, node, name = self._held.pop(0)
            if name in self._asked:
                self._held.append((now + SERVED_AFTER, node, name))
                return
            self._say(node, name)

    def _change(self, name: str) -> None:
        node = self._random.choice(list(self.fleet.gateways))
        self._say(node, name, in_flight=self._random.randint(0, max(1, BUSIEST // len(self.fleet.gateways))))

    def _say(self, node: str, name: str, *, held: int = 0, in_flight: int = 0) -> None:
        self._wished += 1
        self.fleet.gateways[node].want(name, held, in_flight, next(self._uses))
