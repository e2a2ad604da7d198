"""What the head publishes: orders to each worker; to gateways, which deployments, workers and keys exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from sllm_actors.actors import ActorRef
from sllm_actors.engines.identity import ReplicaKey

from .deaths import Deaths
from .differences.feed import Beats, Feed
from .differences.publisher import Publisher
from .keys.messages import KnownKey
from .messages import DeathKey, Order, ReportDeath, ServedModel, WorkerAddress
from .picture.effects import Effects
from .streams import (
    ADDRESSES,
    DEATHS,
    KEYS,
    ORDERS,
    ROUTES,
    AskAddresses,
    AskDeaths,
    AskKeys,
    AskOrders,
    AskRoutes,
)

_Orders = Feed[ReplicaKey, Order]


class HeadFeeds:
    """The feeds of the head's actor. All methods are for that actor's own turns.

    Args:
        node: The head's node id.
        epoch: The head's epoch: the life of all its publishers.
        worker: Returns the ref of a worker's actor.
    """

    def __init__(self, node: str, epoch: int, worker: Callable[[str], ActorRef]) -> None:
        self._node = node
        self._epoch = epoch
        self._worker = worker
        self._beats = Beats()
        self._orders: dict[str, _Orders] = {}
        self._routes = Feed(Publisher(ROUTES, node, epoch), self._beats)
        self._addresses = Feed(Publisher(ADDRESSES, node, epoch), self._beats)
        self._deaths = Feed(Publisher(DEATHS, node, epoch), self._beats)
        self._known_deaths = Deaths()
        self._keys = Feed(Publisher(KEYS, node, epoch), self._beats)

    @property
    def epoch(self) -> int:
        """The epoch of the orders that are given now."""
        return self._epoch

    def tick(self, now: float) -> None:
        """Send the beats that are due; to be called every ``TICK_INTERVAL`` seconds."""
        self._drop_deaths(self._known_deaths.expire(now))
        self._beats.tick()

    def engine_died(self, said: ReportDeath, now: float) -> None:
        """Tell all gateways of a death that one of them has seen."""
        death, over = self._known_deaths.report(said, now)
        if death is not None:
            self._deaths.publisher.put(death)
        self._drop_deaths(over)
        self._deaths.publish()

    def publish(self, effects: Effects) -> None:
        """Send what has changed: only to the workers that it concerns, and to all gateways."""
        touched: dict[str, _Orders] = {}
        for (node, key), order in effects.orders.items():
            feed = touched[node] = self._feed_of(node)
            if order is None:
                feed.publisher.remove(key)
            else:
                feed.publisher.put(order)
        for feed in touched.values():
            feed.publish()
        _change(self._routes.publisher, effects.routes)
        _change(self._addresses.publisher, effects.addresses)
        self._routes.publish()
        self._addresses.publish()

    def publish_keys(self, put: Iterable[KnownKey], gone: Iterable[str]) -> None:
        """Tell all gateways of keys that are new or have changed, and of names whose keys are gone."""
        for key in put:
            self._keys.publisher.put(key)
        for name in gone:
            self._keys.publisher.remove(name)
        self._keys.publish()

    def worker_up(self, node: str) -> None:
        """Let a worker follow its orders: its link has come up."""
        self._feed_of(node).follow(node, self._worker(node))

    def worker_lost(self, node: str) -> None:
        """Send a worker nothing while its link is lost; its orders stay."""
        self._feed_of(node).unfollow(node)

    def forget_worker(self, node: str) -> None:
        """Forget a worker that has no orders."""
        feed = self._orders.get(node)
        if feed is not None and not len(feed.publisher):
            feed.unfollow(node)
            del self._orders[node]

    def gateway_up(self, node: str, gateway: ActorRef) -> None:
        """Let a gateway follow what is for gateways: its link has come up."""
        for feed in self._for_gateways:
            feed.follow(node, gateway)

    def gateway_lost(self, node: str) -> None:
        """Send a gateway nothing while its link is lost."""
        for feed in self._for_gateways:
            feed.unfollow(node)

    @property
    def _for_gateways(self) -> tuple[Feed[Any, Any], ...]:
        return (self._routes, self._addresses, self._deaths, self._keys)

    def answer(self, question: AskOrders | AskRoutes | AskAddresses | AskDeaths | AskKeys) -> None:
        """Send the page that a follower asks for."""
        if isinstance(question, AskOrders):
            if (feed := self._orders.get(question.node)) is not None:
                feed.answer(question)
        elif isinstance(question, AskRoutes):
            self._routes.answer(question)
        elif isinstance(question, AskDeaths):
            self._deaths.answer(question)
        elif isinstance(question, AskKeys):
            self._keys.answer(question)
        else:
            self._addresses.answer(question)

    def orders_of(self, node: str) -> dict[ReplicaKey, Order]:
        """Return the orders that a worker has."""
        feed = self._orders.get(node)
        return {} if feed is None else feed.publisher.entries()

    def __len__(self) -> int:
        """Return how many workers have orders, or follow them."""
        return len(self._orders)

    def raise_epoch(self, epoch: int) -> None:
        """Give all orders anew with a higher epoch: some worker has obeyed a head of a higher one."""
        if epoch <= self._epoch:
            return
        self._epoch = epoch
        for node, feed in self._orders.items():
            feed.publisher.begin_life(epoch)
            if node in feed.followers:
                feed.follow(node, self._worker(node))

    def _drop_deaths(self, keys: tuple[DeathKey, ...]) -> None:
        for key in keys:
            self._deaths.publisher.remove(key)
        if keys:
            self._deaths.publish()

    def _feed_of(self, node: str) -> _Orders:
        feed = self._orders.get(node)
        if feed is None:
            feed = self._orders[node] = Feed(Publisher(ORDERS, self._node, self._epoch), self._beats)
        return feed


_Entry = TypeVar("_Entry", ServedModel, WorkerAddress)


def _change(publisher: Publisher[str, _Entry], changes: dict[str, _Entry | None]) -> None:
    for key, entry in changes.items():
        if entry is None:
            publisher.remove(key)
        else:
            publisher.put(entry)
