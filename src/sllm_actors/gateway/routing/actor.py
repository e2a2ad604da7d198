"""The gateway's actor: it hears of deployments, workers and replicas, and keeps a router per deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import structlog

from sllm_actors.actors import Actor, ChildSpec, StartFailed
from sllm_actors.files import FileProblem
from sllm_actors.serving.messages import ReplicaStates, RoutingTable, WorkerAddress

from .knowledge import Knowledge
from .messages import UpdateRoute, WorkerLost, WorkerUp
from .route import Route
from .router import Router, RouterTools, router_name
from .snapshot_file import load_table, save_table

log = structlog.get_logger()

DialWorkers = Callable[[tuple[WorkerAddress, ...]], None]
"""Takes all workers that the gateway should be linked to. Must not block or raise."""


class Memory:
    """What outlives a restart of the actor.

    Attributes:
        knowledge: What the gateway knew when all routers had last been told of it; None before the first
            time.
    """

    def __init__(self) -> None:
        self.knowledge: Knowledge | None = None


class GatewayActor(Actor):
    """The actor registered as ``GATEWAY``. Its messages are those that ``Gateway.child_spec`` names.

    It begins with what ``memory`` holds, or else with the routing table on disk; with nothing if that cannot
    be read. A new routing table is on disk before the next message is handled; where it cannot be written,
    a warning is logged and routing goes on.

    Args:
        tools: What its routers share with the hot path.
        memory: What the life before this one knew: each restart must get the same object.
        dial_workers: Called with all workers to be linked to, at the start and whenever they change.
    """

    def __init__(self, tools: RouterTools, memory: Memory, dial_workers: DialWorkers) -> None:
        self._tools = tools
        self._memory = memory
        self._dial_workers = dial_workers
        self._path = tools.settings.snapshot_path
        self._knowledge = Knowledge()
        self._routes: dict[str, Route] = {}

    async def started(self) -> None:
        knowledge = self._memory.knowledge
        if knowledge is None:
            knowledge = Knowledge()
            try:
                table = await anyio.to_thread.run_sync(load_table, self._path)
            except FileProblem as problem:
                table = None
                log.warning("snapshot.unreadable", reason=str(problem))
            if table is not None:
                knowledge = knowledge.with_table(table)
                log.info("snapshot.loaded", deployments=len(table.models), workers=len(table.workers))
        await self._learn(knowledge)
        self._dial_workers(knowledge.table.workers)

    async def receive(self, message: Any) -> None:
        known = self._knowledge
        match message:
            case RoutingTable():
                await self._learn(known.with_table(message))
                if self._knowledge is known:
                    return
                if message.workers != known.table.workers:
                    self._dial_workers(message.workers)
                await self._save(message)
            case ReplicaStates():
                await self._learn(known.with_states(message))
            case WorkerUp(node):
                log.info("worker.up", node=node)
                await self._learn(known.with_new_life(node))
            case WorkerLost(node, reason):
                log.warning("worker.lost", node=node, reason=reason)
                await self._learn(known.without(node))
            case _:
                await super().receive(message)

    async def _learn(self, knowledge: Knowledge) -> None:
        """Tell the routers what changed, start those that are missing and stop those that are left over.

        Existing routers are told first, since starting and stopping others takes time.
        """
        if knowledge is self._knowledge and self._memory.knowledge is knowledge:
            return
        self._knowledge = knowledge
        routes = knowledge.routes(patience=self._tools.settings.restart_patience)
        before, self._routes = self._routes, routes
        for name, route in routes.items():
            # A route with a replica that is leaving is sent again although it is the same: the router then
            # repeats to the worker that nothing is in flight there, in case that message was lost.
            if name in before and (route != before[name] or route.leaving):
                self.context.system.named(router_name(name)).tell(UpdateRoute(route))
        for name in self._tools.board.routes.keys() - routes.keys():
            self._tools.board.withdraw(name)
        for name in before.keys() - routes.keys():
            await self._stop_router(name)
        for name in routes.keys() - before.keys():
            await self.context.start_child(
                ChildSpec(name, lambda name=name: self._router(name), name=router_name(name))  # type: ignore[misc]
            )
        self._memory.knowledge = knowledge

    def _router(self, name: str) -> Router:
        return Router(lambda: self._routes.get(name, Route(name)), self._tools)

    async def _stop_router(self, name: str) -> None:
        try:
            await self.context.stop_child(name)
        except StartFailed:
            log.info("router.gone", deployment=name)

    async def _save(self, table: RoutingTable) -> None:
        try:
            await anyio.to_thread.run_sync(save_table, self._path, table)
        except OSError as error:
            # Routing goes on; only a restart while the head is away would begin with the older table.
            log.warning("snapshot.not_saved", path=str(self._path), error=str(error))
