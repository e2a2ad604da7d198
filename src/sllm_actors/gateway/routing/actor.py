"""The gateway's actor: it hears of deployments, workers and replicas, and makes routes of what it hears."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import anyio
import structlog
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, Alarm, ChildSpec, NodeId, StartFailed
from sllm_actors.serving.differences.feed import BEAT_INTERVAL
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.messages import (
    CONTROLLER,
    EngineDeath,
    GatewayNamed,
    ReportDeath,
    WorkersUnreached,
)
from sllm_actors.serving.streams import (
    AddressesDifference,
    AddressesPage,
    AskDemand,
    DeathsDifference,
    DeathsPage,
    KeysDifference,
    KeysPage,
    ReplicasDifference,
    ReplicasPage,
    RoutesDifference,
    RoutesPage,
)
from sllm_actors.transport import PeerDoubted, PeerLost, PeerTrusted, PeerUp

from .demand import DemandFeed
from .following import Following, News
from .memory.memory import Memory
from .memory.saving import Saving
from .messages import AtRest, DemandChanged, RequestsWait, RouteChanged, WakeBalancer
from .node_links import NodeLinks
from .route import Route
from .router import Router, RouterTools, router_name

log = structlog.get_logger()

LOOK_INTERVAL = BEAT_INTERVAL
"""Seconds between two looks at who is linked; each is a beat of the stream of demand, too."""

REPORT_DELAY = 0.05
"""Seconds from a change of demand until the head hears of it, with all others of that time."""

TELL_AGAIN = 3
"""How often the head is told that all workers are reached, after it was told that some are not."""

LIVES = 2**20
"""No gateway's actor begins more often than this within one life of its node."""

SLICE = 32
"""Routes that are made at a time; then the event loop goes on with other work."""


@frozen
class _Save:
    """Time to write the snapshot."""


@frozen
class _Look:
    """Time to look at who is linked."""


@frozen
class _Report:
    """Time to tell the head what clients want."""


@frozen
class _Expire:
    """Time to call ``Balancer.expire``."""


class GatewayActor(Actor):
    """The actor registered as ``GATEWAY``. Its messages are those that ``Gateway.child_spec`` names.

    It begins with what ``memory`` holds, or else with the snapshot on disk; with nothing if that cannot be
    read. What the head says is saved, see ``saving``; where that fails, a warning is logged, and routing goes
    on.

    A change costs what it touches. It alone publishes on the board, and tells the balancer of routes; a
    deployment has a router only from when a replica was leaving, or slept.

    Args:
        tools: What its routers share with the hot path.
        memory: What the life before this one knew: each restart must get the same object.
        links: The links of its node.
    """

    def __init__(self, tools: RouterTools, memory: Memory, links: NodeLinks) -> None:
        self._tools = tools
        self._memory = memory
        self._known = memory.knowledge
        self._links = links
        self._following: Following
        self._routes: dict[str, Route] = {}
        self._routers: set[str] = set()
        self._saving: Saving
        self._demand: DemandFeed
        self._demand_of: NodeId | None = None
        self._reporting = False
        self._untold = 0
        self._expiry: Alarm

    async def started(self) -> None:
        self._memory.lives += 1
        life = LIVES * self.context.system.incarnation.counter + self._memory.lives
        self._demand = DemandFeed(self._tools.balancer, self.context.system.node, life)
        self._expiry = Alarm(self.context, _Expire())
        self._saving = Saving(self.context, self._memory, _Save())
        self._following = Following(self.context.system, self._known, self._memory.keys)
        await self._memory.load()
        if self._memory.complete.is_set():
            self._complete()
        self._links.dial_workers(tuple(self._known.addresses.values()), ())
        # Also what is on the board: the life before this one may have failed before it took that down.
        await self._update({*self._known.names(), *self._tools.board.routes})
        await self._look()

    async def stopped(self, reason: object) -> None:  # noqa: ARG002 - Actor.stopped
        await self._saving.finish()

    async def receive(self, message: Any) -> Any:
        match message:
            case (
                ReplicasDifference()
                | ReplicasPage()
                | RoutesDifference()
                | RoutesPage()
                | AddressesDifference()
                | AddressesPage()
                | DeathsDifference()
                | DeathsPage()
                | KeysDifference()
                | KeysPage()
                | Beat()
            ):
                await self._learn(self._following.take(message))
            case PeerUp() | PeerDoubted() | PeerTrusted() | PeerLost():
                await self._linked_otherwise(message)
            case EngineDeath():
                self._report_death(message)
            case RequestsWait(deployment):
                self._demand.publish()
                self._tell_router(deployment)
            case WakeBalancer(when):
                self._expiry.set(when, self.context.now())
            case _Expire():
                self._expiry.rang()
                self._tools.balancer.expire(self.context.now())
            case DemandChanged():
                self._report_soon()
            case _Report() | AtRest():
                self._reporting = self._reporting and isinstance(message, AtRest)
                self._demand.publish()
            case AskDemand(node):
                self._demand.answer(message, self._head(node))
            case _Look():
                await self._look()
            case _Save():
                self._saving.begin()
            case _:
                return await super().receive(message)
        return None

    async def _linked_otherwise(self, event: PeerUp | PeerDoubted | PeerTrusted | PeerLost) -> None:
        match event:
            case PeerUp(peer):
                if peer.role == "head":
                    self._follow(peer.node)
                await self._learn(self._following.up(peer))
                if peer.role == "head":
                    for death in self._memory.poison.own(self.context.now()):
                        self._report_death(death)
            case PeerDoubted(peer) | PeerTrusted(peer):
                doubted = isinstance(event, PeerDoubted)
                await self._learn(self._following.doubted(peer, doubted=doubted))
            case PeerLost(peer, reason):
                await self._learn(self._following.lost(peer, reason))

    async def _learn(self, news: News) -> None:
        poison, now = self._memory.poison, self.context.now()
        for life in news.died:
            poison.died(life, now)
        if news.deaths or news.deaths_gone:
            poison.heard(news.deaths, news.deaths_gone, now)
        if news.located or news.gone:
            self._links.dial_workers(news.located, news.gone)
        if news.served or news.located or news.gone or news.keys:
            self._saving.changed()
        if news.touched or news.anew:
            await self._update(news.touched | news.anew, anew=news.anew)
        if news.complete:
            self._complete()

    def _report_death(self, death: EngineDeath) -> None:
        """Tell the head, so that it tells the other gateways; without a link to it, later."""
        head = self._links.head()
        if head is not None:
            here = self.context.system.node
            report = ReportDeath(here, death.key.id, death.digests, death.complete)
            self.context.system.named(CONTROLLER, head).tell(report)

    def _complete(self) -> None:
        self._tools.board.complete = True
        self._memory.complete.set()

    async def _look(self) -> None:
        """Make up for messages that were lost in a full mailbox, or between two lives of this actor.

        These are news of links, and wishes of the balancer.
        """
        self.context.after(LOOK_INTERVAL, _Look())
        self._tools.balancer.expire(self.context.now())
        self._demand.publish()
        head = self._links.head()
        for name in self._routers if head is None else ():
            self._tell_router(name)  # requests may have begun to wait for what sleeps while there was a head
        if head == self._demand_of:
            self._demand.beat()
        else:
            self._follow(head)
        self._tell_of_unreached(head)
        for news in self._following.look(self._links):
            await self._learn(news)

    def _tell_of_unreached(self, head: NodeId | None) -> None:
        """Tell the head which workers are dialled in vain; that none is, some times, as it may be lost."""
        unreached = self._links.unreached()
        self._untold = TELL_AGAIN + 1 if unreached else max(0, self._untold - 1)
        if head is not None and self._untold > 0:
            self._head(head).tell(WorkersUnreached(self.context.system.node, unreached))

    # ---- demand

    def _follow(self, head: NodeId | None) -> None:
        """Let the head hear of demand."""
        self._demand_of = head
        if head is not None:
            self._demand.follow(self._head(head))
            name, host = self._tools.settings.name, self._tools.settings.advertise
            if name or host:
                self._head(head).tell(GatewayNamed(self.context.system.node, name, host))

    def _report_soon(self) -> None:
        if not self._reporting:
            self._reporting = True
            self.context.after(REPORT_DELAY, _Report())

    def _head(self, node: str) -> ActorRef:
        return self.context.system.named(CONTROLLER, NodeId(node))

    # ---- routes

    async def _update(self, names: Iterable[str], anew: Iterable[str] = ()) -> None:
        """Make the routes of some deployments anew, publish them, and tell their routers.

        All are published before any router is started or stopped, since that takes time.

        Args:
            names: The deployments.
            anew: Those whose routers are told even if the route is the same, since replicas that are leaving
                may have to be given back once more.
        """
        rest, again, gone, needed = iter(names), frozenset(anew), [], []
        while batch := tuple(islice(rest, SLICE)):
            for name in batch:
                route = self._reroute(name, told=name in again)
                if route is None:
                    gone.append(name)
                elif route.leaving:
                    needed.append(name)
            await anyio.lowlevel.checkpoint()
        for name in gone:
            await self._stop_router(name)
        for name in needed:
            await self._start_router(name)

    def _reroute(self, name: str, *, told: bool) -> Route | None:
        route = self._known.route(name, patience=self._tools.settings.restart_patience)
        if route is None:
            self._routes.pop(name, None)
            self._tools.board.withdraw(name)
            self._tools.balancer.route_changed(Route(name), self._known.lost)
            return None
        if route != self._routes.get(name):
            self._routes[name] = route
            # Published before a router hears of it: once a worker is told that nothing is in flight at a
            # replica, no request may be sent there.
            self._tools.board.publish(route)
            told = True
        self._tools.balancer.route_changed(route, self._known.lost)
        if told:
            self._tell_router(name)
        return route

    # ---- routers

    def _tell_router(self, name: str) -> None:
        """Let the router of a deployment look at the route, if there is one: else it has nothing to do."""
        if name in self._routers:
            self.context.system.named(router_name(name)).tell(RouteChanged())

    async def _start_router(self, name: str) -> None:
        if name not in self._routers:
            await self.context.start_child(
                ChildSpec(name, lambda: self._router(name), name=router_name(name))
            )
            self._routers.add(name)

    def _router(self, name: str) -> Router:
        return Router(
            lambda: self._routes.get(name, Route(name)),
            self._known.whole_of,
            self._tools,
            lambda: self._links.head() is not None,
        )

    async def _stop_router(self, name: str) -> None:
        if name in self._routers:
            self._routers.remove(name)
            try:
                await self.context.stop_child(name)
            except StartFailed:
                log.info("router.gone", deployment=name)
