"""The gateway's actor: it hears of deployments, workers and replicas, and makes routes of what it hears."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import anyio
import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, ChildSpec, NodeId, StartFailed, Timer
from sllm_actors.files import FileProblem
from sllm_actors.serving.differences.feed import BEAT_INTERVAL
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.messages import CONTROLLER, EngineDeath, ReportDeath, WorkerAddress
from sllm_actors.serving.streams import (
    AddressesDifference,
    AddressesPage,
    AskDemand,
    DeathsDifference,
    DeathsPage,
    ReplicasDifference,
    ReplicasPage,
    RoutesDifference,
    RoutesPage,
)
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .demand import DemandFeed
from .following import Following, News
from .knowledge import Knowledge
from .messages import AtRest, DemandChanged, RequestsWait, RouteChanged, WakeBalancer
from .poison import Poison
from .route import Route
from .router import Router, RouterTools, router_name
from .snapshot_file import Snapshot, SnapshotFile

log = structlog.get_logger()

SAVE_DELAY = 1.0
"""Seconds from a change of what the head says until it is on disk: changes that come together go together."""

SAVE_AGAIN = 30.0
"""Seconds until the snapshot is written again when that has failed."""

LAST_SAVE = 2.0
"""Seconds that writing what is unsaved may take when the gateway stops."""

LOOK_INTERVAL = BEAT_INTERVAL
"""Seconds between two looks at who is linked; each is a beat of the stream of demand, too."""

REPORT_DELAY = 0.05
"""Seconds from a change of demand until the head hears of it, with all others of that time."""

LIVES = 2**20
"""No gateway's actor begins more often than this within one life of its node."""

SLICE = 32
"""Routes that are made at a time; then the event loop goes on with other work."""

DialWorkers = Callable[[Iterable[WorkerAddress], Iterable[str]], None]
"""Takes workers that the gateway should be linked to, and the node ids of those that are gone. Must not block
or raise."""


@frozen
class NodeLinks:
    """The links of the gateway's node.

    Attributes:
        dial_workers: Called with all workers to be linked to at the start of the actor, and then with those
            that change.
        peers: Returns the nodes that are linked now.
        head: Returns the head whose link came up last, or None while that link is down.
    """

    dial_workers: DialWorkers
    peers: Callable[[], Iterable[Peer]]
    head: Callable[[], NodeId | None]


class Memory:
    """What outlives a restart of the gateway's actor.

    Attributes:
        knowledge: What the gateway has been told.
        poison: Which engines have died, and what of.
        file: The snapshot on disk.
        loaded: Whether that has been read.
        unsaved: Whether what the head says has changed since it was written.
        saves: How often it was tried to write it.
        lives: How often the actor has begun.
        complete: Set when a head has told of all deployments, to this gateway or to one before it.
    """

    def __init__(self, file: SnapshotFile, poison: Poison) -> None:
        self.knowledge = Knowledge()
        self.poison = poison
        self.file = file
        self.loaded = False
        self.unsaved = False
        self.saves = 0
        self.lives = 0
        self.complete = anyio.Event()


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
    read. What the head says is on disk ``SAVE_DELAY`` later, and before the actor has stopped; where it
    cannot be written, a warning is logged, routing goes on, and it is tried again ``SAVE_AGAIN`` later.

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
        self._demand: DemandFeed
        self._demand_of: NodeId | None = None
        self._reporting = False
        self._expire_timer: Timer | None = None
        self._expire_due = 0.0
        self._save_timer: Timer | None = None
        self._saving = False

    async def started(self) -> None:
        self._memory.lives += 1
        life = LIVES * self.context.system.incarnation.counter + self._memory.lives
        self._demand = DemandFeed(self._tools.balancer, self.context.system.node, life)
        self._following = Following(self.context.system, self._known)
        if not self._memory.loaded:
            await self._load()
            self._memory.loaded = True
        self._links.dial_workers(tuple(self._known.addresses.values()), ())
        # Also what is on the board: the life before this one may have failed before it took that down.
        await self._update({*self._known.names(), *self._tools.board.routes})
        await self._look()
        if self._memory.unsaved:
            self._save_in(SAVE_DELAY)

    async def stopped(self, reason: object) -> None:  # noqa: ARG002 - Actor.stopped
        if self._memory.unsaved:
            with anyio.move_on_after(LAST_SAVE) as scope:
                await self._write()
            if scope.cancelled_caught:
                log.warning("snapshot.not_saved", path=str(self._memory.file.path), error="it took too long")

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
                | Beat()
            ):
                await self._learn(self._following.take(message))
            case PeerUp(peer):
                if peer.role == "head":
                    self._follow(peer.node)
                await self._learn(self._following.up(peer))
                if peer.role == "head":
                    for death in self._memory.poison.own(self.context.now()):
                        self._report_death(death)
            case EngineDeath():
                self._report_death(message)
            case PeerLost(peer, reason):
                await self._learn(self._following.lost(peer, reason))
            case RequestsWait(deployment):
                self._demand.publish()
                self._tell_router(deployment)
            case WakeBalancer(when):
                self._expire_at(when)
            case _Expire():
                self._expire_timer = None
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
                self._save_timer, self._saving = None, True
                self.context.start_soon(self._save)
            case _:
                return await super().receive(message)
        return None

    async def _learn(self, news: News) -> None:
        poison, now = self._memory.poison, self.context.now()
        for life in news.died:
            poison.died(life, now)
        if news.deaths or news.deaths_gone:
            poison.heard(news.deaths, news.deaths_gone, now)
        if news.located or news.gone:
            self._links.dial_workers(news.located, news.gone)
        if news.served or news.located or news.gone:
            self._memory.unsaved = True
            self._save_in(SAVE_DELAY)
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
        for news in self._following.look(self._links.peers(), self._links.head()):
            await self._learn(news)

    # ---- demand

    def _follow(self, head: NodeId | None) -> None:
        """Let the head hear of demand."""
        self._demand_of = head
        if head is not None:
            self._demand.follow(self._head(head))

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

    def _expire_at(self, when: float) -> None:
        if self._expire_timer is not None:
            if self._expire_due <= when:
                return
            self._expire_timer.cancel()
        self._expire_due = when
        self._expire_timer = self.context.after(max(0.0, when - self.context.now()), _Expire())

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

    # ---- the snapshot

    async def _load(self) -> None:
        try:
            snapshot = await to_thread.run_sync(self._memory.file.load)
        except FileProblem as problem:
            log.warning("snapshot.unreadable", reason=str(problem))
            return
        if snapshot is not None:
            self._known.serve(snapshot.models)
            self._known.locate(snapshot.workers)
            self._complete()
            log.info("snapshot.loaded", deployments=len(snapshot.models), workers=len(snapshot.workers))

    def _save_in(self, delay: float) -> None:
        if self._save_timer is None and not self._saving:
            self._save_timer = self.context.after(delay, _Save())

    async def _save(self) -> None:
        saved = await self._write()
        self._saving = False
        if self._memory.unsaved:  # it has changed again, or could not be written
            self._save_in(SAVE_DELAY if saved else SAVE_AGAIN)

    async def _write(self) -> bool:
        memory = self._memory
        memory.saves += 1
        snapshot = Snapshot(tuple(self._known.served.values()), tuple(self._known.addresses.values()))
        memory.unsaved = False
        saved = False
        try:
            await to_thread.run_sync(memory.file.save, memory.saves, snapshot, abandon_on_cancel=True)
            saved = True
        except OSError as error:
            # Routing goes on; only a restart while the head is away would begin with what was said before.
            log.warning("snapshot.not_saved", path=str(memory.file.path), error=str(error))
        finally:
            memory.unsaved = memory.unsaved or not saved
        return saved
