"""What clients want of each deployment, as the gateways say. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import Final

from attrs import define, field, frozen

from sllm_actors.serving.messages import Demand

SILENCE: Final = 5.0
"""A gateway that said nothing for so many seconds counts for nothing, until it says something again."""

SHARED: Final = 10.0
"""Seconds for which a gateway keeps its share of the replicas of a deployment that its clients left."""

BATCH: Final = 100
"""Deployments that time changes in one step at most: a gateway that is gone leaves thousands at once."""


@frozen
class TotalDemand:
    """What the clients of all gateways want of one deployment.

    Attributes:
        held: How many requests wait for a replica.
        in_flight: How many are under way.
        gateways: How many gateways have such requests.
        reached: The most ready replicas that one of these gateways reaches.
        uses: How many requests have begun that these gateways have told of. It falls when an entry of a
            gateway goes; a deployment that was used between two reports has an entry for at least one report.
        keep_alive: What the last request wished that said how many seconds the replicas are to stay once they
            are idle, negative for always; of several gateways, the one that reported such a wish last. None
            if no request of these entries wished anything. It is the client's wish: not capped yet, and gone
            with the entries, so whoever goes by it remembers it, as long as no request wishes otherwise.
    """

    held: int = 0
    in_flight: int = 0
    gateways: int = 0
    reached: int = 0
    uses: int = 0
    keep_alive: float | None = None


NO_DEMAND: Final = TotalDemand()


@define
class _Gateway:
    heard: float
    linked: bool = True
    silent: bool = False
    demands: dict[str, Demand] = field(factory=dict)


class DemandTable:
    """The demand of every gateway, found by deployment. Times are in seconds on the head's clock.

    What a gateway says costs by the entries in it. Methods that return ids of deployments return those of
    which the number of gateways that share replicas may have changed. When that is so of all deployments of a
    gateway, it is told of them by ``expire``, bit by bit.
    """

    def __init__(self) -> None:
        self._gateways: dict[str, _Gateway] = {}
        self._deployments: dict[str, dict[str, Demand]] = {}
        self._shares: dict[str, dict[str, float]] = {}  # until when each gateway has its share
        self._ends: list[tuple[float, str, str]] = []
        self._changed: dict[str, float] = {}  # since when; ``expire`` is to return them

    def report(
        self, gateway: str, put: Iterable[Demand], removed: Iterable[str], now: float
    ) -> frozenset[str]:
        """Take what a gateway said, be it that nothing has changed."""
        known = self._gateways.get(gateway)
        if known is None:
            known = self._gateways[gateway] = _Gateway(now)
        known.heard, known.linked = now, True
        changed = set()
        for demand in put:
            name = demand.deployment
            known.demands[name] = demand
            gateways = self._deployments.setdefault(name, {})
            if demand.keep_alive is not None:
                gateways.pop(gateway, None)  # to the end: its wish is the last one
            gateways[gateway] = demand
            changed.add(name)
        for name in known.demands if known.silent else changed:
            self._shares.setdefault(name, {})[gateway] = inf
        if known.silent:
            known.silent = False
            self._changed.update(dict.fromkeys(known.demands, now))
        for name in removed:
            if known.demands.pop(name, None) is not None:
                self._drop(self._deployments, name, gateway)
                end = now + SHARED
                self._shares[name][gateway] = end
                heappush(self._ends, (end, name, gateway))
        return frozenset(changed)

    def lost(self, gateway: str) -> None:
        """Take note that the link to a gateway is lost: it is forgotten once it has been silent."""
        if (known := self._gateways.get(gateway)) is not None:
            known.linked = False

    def expire(self, now: float) -> frozenset[str]:
        """Let shares end, and gateways count for nothing, when it is time.

        At most ``BATCH`` deployments are returned: while ``due`` is not after ``now``, there are more.
        """
        for gateway, known in list(self._gateways.items()):
            if known.heard + SILENCE > now:
                continue
            if not known.silent:
                known.silent = True
                for name in known.demands:
                    self._drop(self._shares, name, gateway)
                self._changed.update(dict.fromkeys(known.demands, now))
            if not known.linked:
                del self._gateways[gateway]
                for name in known.demands:
                    self._drop(self._deployments, name, gateway)
        changed = set(islice(self._changed, BATCH))
        for name in changed:
            del self._changed[name]
        while self._ends and self._ends[0][0] <= now and len(changed) < BATCH:
            end, name, gateway = heappop(self._ends)
            if self._shares.get(name, {}).get(gateway) == end:
                self._drop(self._shares, name, gateway)
                changed.add(name)
        return frozenset(changed)

    def due(self) -> float | None:
        """Return when ``expire`` has something to do, or None."""
        due = next(iter(self._changed.values()), inf)
        if self._ends:
            due = min(due, self._ends[0][0])
        for known in self._gateways.values():
            if not known.silent and known.heard + SILENCE < due:
                due = known.heard + SILENCE
        return None if due == inf else due

    def keys_of(self, gateway: str) -> tuple[str, ...]:
        """Return the deployments that a gateway has said something of."""
        known = self._gateways.get(gateway)
        return () if known is None else tuple(known.demands)

    def sharing(self, deployment: str) -> int:
        """Return how many gateways share the replicas of a deployment; at least 1."""
        return max(1, len(self._shares.get(deployment, ())))

    def of(self, deployment: str) -> TotalDemand:
        """Return what is wanted of one deployment."""
        demands = self._deployments.get(deployment)
        if demands is None:
            return NO_DEMAND
        held = in_flight = gateways = reached = uses = 0
        wish: float | None = None
        for gateway, demand in demands.items():
            if self._gateways[gateway].silent:
                continue
            held += demand.held
            in_flight += demand.in_flight
            gateways += demand.held > 0 or demand.in_flight > 0
            reached = max(reached, demand.ready)
            uses += demand.uses
            wish = wish if demand.keep_alive is None else demand.keep_alive
        return TotalDemand(held, in_flight, gateways, reached, uses, wish)

    @staticmethod
    def _drop(table: dict[str, dict[str, Demand]] | dict[str, dict[str, float]], name: str, of: str) -> None:
        entries = table[name]
        entries.pop(of, None)
        if not entries:
            del table[name]
