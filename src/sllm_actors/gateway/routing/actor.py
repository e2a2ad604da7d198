"""The gateway's actor: it hears of deployments, workers and replicas, and keeps a router per deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import anyio
import structlog
from attrs import frozen

from sllm_actors.actors import Actor, ActorRef, ChildSpec, NodeId, StartFailed
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport
from sllm_actors.files import FileProblem
from sllm_actors.serving.differences.follower import Follower
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.differences.subscription import Subscription
from sllm_actors.serving.messages import CONTROLLER, WORKER, ServedModel, WorkerAddress
from sllm_actors.serving.streams import (
    ADDRESSES,
    REPLICAS,
    ROUTES,
    AddressesDifference,
    AddressesPage,
    ReplicasDifference,
    ReplicasPage,
    RoutesDifference,
    RoutesPage,
)

from .knowledge import Knowledge
from .messages import HeadUp, UpdateRoute, WorkerLost, WorkerUp
from .route import Route
from .router import Router, RouterTools, router_name
from .snapshot_file import Snapshot, load_snapshot, save_snapshot

log = structlog.get_logger()

SAVE_DELAY = 1.0
"""Seconds from a change of what the head says until it is on disk: changes that come together go together."""

DialWorkers = Callable[[tuple[WorkerAddress, ...]], None]
"""Takes all workers that the gateway should be linked to. Must not block or raise."""


class Memory:
    """What outlives a restart of the actor.

    Attributes:
        knowledge: What the gateway has been told.
        head: The node id of the head that was linked last; None before the first.
        loaded: Whether the snapshot on disk has been read.
    """

    def __init__(self) -> None:
        self.knowledge = Knowledge()
        self.head: str | None = None
        self.workers: set[str] = set()
        self.loaded = False


@frozen
class _Save:
    """Time to write the snapshot."""


class GatewayActor(Actor):
    """The actor registered as ``GATEWAY``. Its messages are those that ``Gateway.child_spec`` names.

    It begins with what ``memory`` holds, or else with the snapshot on disk; with nothing if that cannot be
    read. What the head says is on disk ``SAVE_DELAY`` later; where it cannot be written, a warning is logged
    and routing goes on.

    Args:
        tools: What its routers share with the hot path.
        memory: What the life before this one knew: each restart must get the same object.
        dial_workers: Called with all workers to be linked to, at the start and whenever they change.
    """

    def __init__(self, tools: RouterTools, memory: Memory, dial_workers: DialWorkers) -> None:
        self._tools = tools
        self._memory = memory
        self._known = memory.knowledge
        self._dial_workers = dial_workers
        self._path = tools.settings.snapshot_path
        self._routes: dict[str, Route] = {}
        self._from_head: Subscription[str, ServedModel] | None = None
        self._of_workers: Subscription[str, WorkerAddress] | None = None
        self._replicas: dict[str, Subscription[ReplicaKey, ReplicaReport]] = {}
        self._saving = False

    async def started(self) -> None:
        if not self._memory.loaded:
            self._memory.loaded = True
            await self._load()
        await self._update(self._known.names())
        self._dial()
        if self._memory.head is not None:
            self._follow_head(self._memory.head)
        for node in sorted(self._memory.workers):
            self._follow_worker(node)

    async def receive(self, message: Any) -> None:
        match message:
            case ReplicasDifference() | ReplicasPage():
                await self._heard(message)
            case RoutesDifference() | RoutesPage():
                await self._routed(message)
            case AddressesDifference() | AddressesPage():
                self._located(message)
            case Beat():
                await self._beaten(message)
            case HeadUp(node):
                self._memory.head = node
                self._follow_head(node)
            case WorkerUp(node):
                log.info("worker.up", node=node)
                self._memory.workers.add(node)
                self._follow_worker(node)
            case WorkerLost(node, reason):
                log.warning("worker.lost", node=node, reason=reason)
                self._memory.workers.discard(node)
                self._replicas.pop(node, None)
                await self._update(self._known.lose(node))
            case _Save():
                self._saving = False
                models, workers = tuple(self._known.served.values()), tuple(self._known.addresses.values())
                self.context.start_soon(self._save, Snapshot(models, workers))
            case _:
                await super().receive(message)

    # ---- following

    def _follow_head(self, node: str) -> None:
        controller = self._ref(CONTROLLER, node)
        here = self.context.system.node
        routes = Follower(ROUTES, here, known=self._known.served)
        self._from_head = Subscription(routes, controller)
        self._from_head.begin()
        self._of_workers = Subscription(Follower(ADDRESSES, here, known=self._known.addresses), controller)
        self._of_workers.begin()

    def _follow_worker(self, node: str) -> None:
        known = self._known.keys_of(node)
        follower = Follower(REPLICAS, self.context.system.node, known=known)
        subscription = self._replicas[node] = Subscription(follower, self._ref(WORKER, node))
        subscription.begin()

    def _ref(self, name: str, node: str) -> ActorRef:
        return self.context.system.named(name, NodeId(node))

    async def _heard(self, message: ReplicasDifference | ReplicasPage | Beat) -> None:
        subscription = self._replicas.get(message.node)
        if subscription is None:
            return
        changes = subscription.take(message)
        if changes.put or changes.removed or changes.whole:
            await self._update(self._known.report(message.node, changes.put, changes.removed))

    async def _routed(self, message: RoutesDifference | RoutesPage | Beat) -> None:
        if self._from_head is None or message.node != self._memory.head:
            return
        changes = self._from_head.take(message)
        touched = self._known.serve(changes.put, changes.removed)
        if touched:
            self._save_soon()
            await self._update(touched)

    def _located(self, message: AddressesDifference | AddressesPage | Beat) -> None:
        if self._of_workers is None or message.node != self._memory.head:
            return
        changes = self._of_workers.take(message)
        if self._known.locate(changes.put, changes.removed):
            self._save_soon()
            self._dial()

    async def _beaten(self, beat: Beat) -> None:
        if beat.stream == REPLICAS.name:
            await self._heard(beat)
        elif beat.stream == ROUTES.name:
            await self._routed(beat)
        else:
            self._located(beat)

    def _dial(self) -> None:
        self._dial_workers(tuple(self._known.addresses.values()))

    # ---- routers

    async def _update(self, names: Iterable[str]) -> None:
        """Tell the routers of some deployments what changed; start those that are missing, stop those left.

        Existing routers are told first, since starting and stopping others takes time.
        """
        patience = self._tools.settings.restart_patience
        come, gone = [], []
        for name in sorted(names):
            route, before = self._known.route(name, patience=patience), self._routes.get(name)
            if route is None:
                if self._routes.pop(name, None) is not None:
                    self._tools.board.withdraw(name)
                    gone.append(name)
                continue
            self._routes[name] = route
            if before is None:
                come.append(name)
            elif route != before or route.leaving:
                # Also the same route, if a replica is leaving: the router then repeats to the worker that
                # nothing is in flight there, in case that message was lost.
                self.context.system.named(router_name(name)).tell(UpdateRoute(route))
        for name in gone:
            await self._stop_router(name)
        for name in come:
            await self.context.start_child(
                ChildSpec(name, lambda name=name: self._router(name), name=router_name(name))  # type: ignore[misc]
            )

    def _router(self, name: str) -> Router:
        return Router(lambda: self._routes.get(name, Route(name)), self._tools)

    async def _stop_router(self, name: str) -> None:
        try:
            await self.context.stop_child(name)
        except StartFailed:
            log.info("router.gone", deployment=name)

    # ---- the snapshot

    async def _load(self) -> None:
        try:
            snapshot = await anyio.to_thread.run_sync(load_snapshot, self._path)
        except FileProblem as problem:
            log.warning("snapshot.unreadable", reason=str(problem))
            return
        if snapshot is not None:
            self._known.serve(snapshot.models)
            self._known.locate(snapshot.workers)
            log.info("snapshot.loaded", deployments=len(snapshot.models), workers=len(snapshot.workers))

    def _save_soon(self) -> None:
        if not self._saving:
            self._saving = True
            self.context.after(SAVE_DELAY, _Save())

    async def _save(self, snapshot: Snapshot) -> None:
        try:
            await anyio.to_thread.run_sync(save_snapshot, self._path, snapshot)
        except OSError as error:
            # Routing goes on; only a restart while the head is away would begin with what was said before.
            log.warning("snapshot.not_saved", path=str(self._path), error=str(error))
