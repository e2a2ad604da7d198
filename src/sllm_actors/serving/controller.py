"""The head's actor: takes control requests and reports, and tells workers and gateways what follows.

It holds no truth of its own. Deployments are in the store, replicas are what workers report; it may be
restarted at any moment. After a start it gives no order until each worker that the store knows has reported
or had ``settle_time`` to do so: a head that knows nothing yet must never stop a running engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import structlog
from anyio import to_thread
from attrs import evolve, frozen

from sllm_actors.actors import Actor, AskError, NodeId, Reply
from sllm_actors.engines.messages import InspectSource, SourceInspected
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .answers import answer, deployed, refusal, unknown
from .deployment import DeploymentProblem, DeploymentSpec
from .describe import NodeView, describe_deployment, describe_node
from .document import MAX_DOCUMENT, read_document
from .messages import (
    GATEWAY,
    WORKER,
    Answer,
    Delete,
    Deploy,
    Describe,
    DesiredReplicas,
    Inventory,
    RoutingTable,
    ServedModel,
    WorkerAddress,
    WorkerReport,
)
from .reconcile import Deployment, Worker, reconcile
from .store import Store, StoreProblem

log = structlog.get_logger("sllm_actors.controller")

INSPECT_TIMEOUT = 5.0
MAX_ADDRESSES = 1024


@frozen
class _Settle:
    """Time to stop waiting for workers that do not come back."""


@frozen
class _Inspected:
    """What workers said of a deployment that asks to be admitted."""

    spec: DeploymentSpec
    warnings: list[str]
    problems: dict[str, str]
    reply: Reply


@frozen
class _Fitness:
    """What one worker said of deployments that exist: revision and problem, by id."""

    node: str
    problems: dict[str, tuple[int, str]]


class Controller(Actor):
    """See the module.

    Args:
        store: Open; used in threads, closed by whoever opened it.
        peers: Returns the nodes that are linked now.
        epoch: The head's life: its incarnation's counter.
        table_numbers: Numbers the routing tables of this life, over restarts of this actor too.
        settle_time: Seconds, see the module.
    """

    def __init__(
        self,
        store: Store,
        *,
        peers: Callable[[], tuple[Peer, ...]],
        epoch: int,
        table_numbers: Iterator[int],
        settle_time: float = 10.0,
    ) -> None:
        self._store = store
        self._linked = peers
        self._epoch = epoch
        self._table_numbers = table_numbers
        self._settle_time = settle_time
        self._deployments: dict[str, Deployment] = {}
        self._admitting: set[str] = set()
        self._peers: dict[str, Peer] = {}
        self._nodes: dict[str, NodeView] = {}
        self._workers: dict[str, Worker] = {}
        self._sequences: dict[str, int] = {}
        self._placements: dict[Any, str] = {}
        self._sent: dict[str, DesiredReplicas] = {}
        self._awaited: set[str] = set()
        self._addresses: dict[str, WorkerAddress] = {}
        self._table: RoutingTable | None = None

    async def started(self) -> None:
        """Read the store, and begin with the links that there are."""
        for stored in await to_thread.run_sync(self._store.deployments):
            self._deployments[stored.spec.id] = Deployment(
                stored.spec, stored.revision, stored.deleting, stored.next_number, stored.created
            )
        self._awaited = await to_thread.run_sync(self._store.nodes, "worker")
        if self._awaited:
            self.context.after(self._settle_time, _Settle())
        for peer in self._linked():
            await self._link_up(peer)
        await self._apply()

    async def receive(self, message: Any) -> Any:
        """Take a control request (answered with ``Answer``), a report, or news of a link."""
        match message:
            case WorkerReport():
                await self._report(message)
            case Describe():
                return self._describe(message.deployment)
            case Deploy():
                return self._deploy(message.document)
            case Delete():
                return await self._delete(message.deployment)
            case PeerUp(peer):
                await self._link_up(peer)
            case PeerLost(peer, reason):
                await self._link_lost(peer, reason)
            case _Inspected():
                await self._admit(message)
            case _Fitness():
                await self._learn_fitness(message)
            case _Settle():
                await self._settle()
            case _:
                return await super().receive(message)
        return None

    # ---- nodes

    async def _link_up(self, peer: Peer) -> None:
        self._peers[peer.node] = peer
        self._nodes[peer.node] = NodeView(
            peer.node, peer.role, peer.host, str(peer.incarnation), up=True, since=time.time()
        )
        self._forget_worker(peer.node)
        await self._keep(partial(self._store.saw_node, peer.node, peer.role, time.time()))
        if peer.role == "gateway":
            self._tell_gateway(peer.node)

    async def _link_lost(self, peer: Peer, reason: str) -> None:
        known = self._peers.get(peer.node)
        if known is None or known.incarnation != peer.incarnation:
            return
        del self._peers[peer.node]
        self._nodes[peer.node] = evolve(self._nodes[peer.node], up=False, since=time.time(), reason=reason)
        self._forget_worker(peer.node)
        await self._apply()

    def _forget_worker(self, node: str) -> None:
        self._workers.pop(node, None)
        self._sequences.pop(node, None)
        self._sent.pop(node, None)
        for name, deployment in self._deployments.items():
            # It may come back with other files.
            unfit = {n: problem for n, problem in deployment.unfit.items() if n != node}
            self._deployments[name] = evolve(deployment, unfit=unfit)

    async def _report(self, report: WorkerReport) -> None:
        if report.node not in self._peers or report.sequence <= self._sequences.get(report.node, -1):
            return
        new = report.node not in self._workers
        self._sequences[report.node] = report.sequence
        self._workers[report.node] = Worker(
            report.node, report.inventory, {replica.id.key: replica for replica in report.replicas}
        )
        self._awaited.discard(report.node)
        self._learn_address(report.node, report.inventory)
        if new:
            self._inspect_all(report.node)
        ordered = {order.key for order in self._sent.get(report.node, DesiredReplicas()).orders}
        if ordered != set(self._workers[report.node].replicas):
            self._sent.pop(report.node, None)  # an order, or the report of its end, was lost: say it again
        await self._apply()

    async def _settle(self) -> None:
        if self._awaited:
            log.warning("controller.workers_missing", nodes=sorted(self._awaited))
            await self._keep(partial(self._store.forget_nodes, frozenset(self._awaited)))
            self._awaited.clear()
            await self._apply()

    # ---- who can run what

    def _inspect_all(self, node: str) -> None:
        unknown = [d for d in self._deployments.values() if node not in d.unfit and not d.deleting]
        if unknown:
            self.context.start_soon(self._ask_fitness, node, unknown)

    async def _ask_fitness(self, node: str, deployments: list[Deployment]) -> None:
        problems: dict[str, tuple[int, str]] = {}
        for deployment in deployments:
            said = await self._inspect(node, deployment.spec)
            if said is not None:
                problems[deployment.spec.id] = (deployment.revision, said)
        if len(problems) < len(deployments):
            await anyio.sleep(1.0)
        self.context.ref.tell(_Fitness(node, problems))

    async def _learn_fitness(self, fitness: _Fitness) -> None:
        if fitness.node not in self._workers:
            return
        for name, (revision, problem) in fitness.problems.items():
            deployment = self._deployments.get(name)
            if deployment is not None and deployment.revision == revision:
                unfit = {**deployment.unfit, fitness.node: problem}
                self._deployments[name] = evolve(deployment, unfit=unfit)
        self._inspect_all(fitness.node)
        await self._apply()

    async def _inspect(self, node: str, spec: DeploymentSpec) -> str | None:
        """Return what keeps a worker from running this ("" for nothing), or None when it does not say."""
        worker = self.context.system.named(WORKER, NodeId(node))
        question = InspectSource(spec.backend, spec.source_of(0), spec.settings)
        try:
            said = await worker.ask(question, timeout=INSPECT_TIMEOUT)
        except AskError as error:
            log.warning("controller.not_inspected", node=node, deployment=spec.id, error=str(error))
            return None
        return said.problem if isinstance(said, SourceInspected) else None

    # ---- control requests

    def _describe(self, name: str) -> Answer:
        if name:
            deployment = self._deployments.get(name)
            if deployment is None:
                return unknown(name)
            return answer(200, describe_deployment(deployment, self._workers, self._placements))
        deployments = []
        for _, each in sorted(self._deployments.items()):
            described = describe_deployment(each, self._workers, self._placements)
            del described["spec"]
            deployments.append(described)
        nodes = [
            describe_node(view, self._workers.get(node), self._used_gpus(node))
            for node, view in sorted(self._nodes.items())
        ]
        return answer(200, {"deployments": deployments, "nodes": nodes, "head": {"state": "up"}})

    def _used_gpus(self, node: str) -> int:
        return sum(
            self._deployments[key.deployment].spec.gpus
            for key, where in self._placements.items()
            if where == node and key.deployment in self._deployments
        )

    def _deploy(self, document: str) -> Answer | None:
        if len(document) > MAX_DOCUMENT:
            return refusal(413, f"the deployment has more than {MAX_DOCUMENT} characters", "too_large")
        try:
            spec, warnings = read_document(document)
        except DeploymentProblem as problem:
            return refusal(400, str(problem), "invalid_deployment", problem.param)
        known = self._deployments.get(spec.id)
        if known is not None and known.deleting:
            sentence = f"{spec.id} is being deleted: deploy it again in a moment"
            return refusal(409, sentence, "deployment_deleting", retry_after=1.0)
        if known is not None and known.spec != spec:
            sentence = f"{spec.id} is deployed with other settings: delete it first"
            return refusal(409, sentence, "deployment_exists")
        if known is not None:
            return deployed(known, warnings, created=False)
        if spec.id in self._admitting:
            sentence = f"{spec.id} is just being deployed by somebody else"
            return refusal(409, sentence, "deployment_exists", retry_after=1.0)
        self._admitting.add(spec.id)
        self.context.start_soon(self._ask_workers, spec, warnings, self.context.reply_later())
        return None

    async def _ask_workers(self, spec: DeploymentSpec, warnings: list[str], reply: Reply) -> None:
        problems: dict[str, str] = {}

        async def ask(node: str) -> None:
            said = await self._inspect(node, spec)
            if said is not None:
                problems[node] = said

        async with anyio.create_task_group() as asking:
            for node in sorted(self._workers):
                asking.start_soon(ask, node)
        self.context.ref.tell(_Inspected(spec, warnings, problems, reply))

    async def _admit(self, inspected: _Inspected) -> None:
        spec, problems = inspected.spec, inspected.problems
        self._admitting.discard(spec.id)
        if problems and all(problems.values()):
            first = problems[min(problems)]
            inspected.reply.send(refusal(400, first, "invalid_deployment", "source"))
            return
        try:
            stored = await to_thread.run_sync(self._store.deploy, spec, time.time())
        except StoreProblem as problem:
            inspected.reply.send(refusal(503, str(problem), "store_unavailable"))
            return
        unfit = {node: problem for node, problem in problems.items() if node in self._workers}
        deployment = Deployment(
            spec, stored.revision, next_number=stored.next_number, created=stored.created, unfit=unfit
        )
        self._deployments[spec.id] = deployment
        log.info("deployment.created", deployment=spec.id, revision=stored.revision)
        await self._apply()
        for node in sorted(set(self._workers) - set(unfit)):
            self._inspect_all(node)
        inspected.reply.send(deployed(deployment, inspected.warnings, created=True))

    async def _delete(self, name: str) -> Answer:
        deployment = self._deployments.get(name)
        if deployment is None:
            return unknown(name)
        if not deployment.deleting:
            try:
                await to_thread.run_sync(self._store.set_deleting, name)
            except StoreProblem as problem:
                return refusal(503, str(problem), "store_unavailable")
            self._deployments[name] = evolve(deployment, deleting=True)
            log.info("deployment.deleting", deployment=name)
            await self._apply()
        body = {"status": "deleting", "deployment_id": name, "message": f"{name} is being deleted"}
        return answer(202, body)

    # ---- what follows

    async def _apply(self) -> None:
        """Bring workers and gateways up to date with the picture."""
        if not self._awaited:
            plan = reconcile(self._deployments, self._workers, self._placements)
            if plan.next_numbers and not await self._keep(
                partial(self._store.reserve_numbers, plan.next_numbers)
            ):
                return
            for name, number in plan.next_numbers.items():
                self._deployments[name] = evolve(self._deployments[name], next_number=number)
            self._placements = dict(plan.placements)
            for node, orders in plan.orders.items():
                self._order(node, DesiredReplicas(orders))
            for name in plan.gone:
                if await self._keep(partial(self._store.forget, name)):
                    del self._deployments[name]
                    log.info("deployment.deleted", deployment=name)
        self._publish()

    def _order(self, node: str, desired: DesiredReplicas) -> None:
        if self._sent.get(node) != desired:
            self._sent[node] = desired
            self.context.system.named(WORKER, NodeId(node)).tell(desired)

    def _publish(self) -> None:
        if self._awaited:
            return
        table = RoutingTable(
            (self._epoch, 0), self._models(), tuple(self._addresses[node] for node in sorted(self._addresses))
        )
        known = self._table
        if known is None or (table.models, table.workers) != (known.models, known.workers):
            self._table = evolve(table, epoch=(self._epoch, next(self._table_numbers)))
            for node, peer in sorted(self._peers.items()):
                if peer.role == "gateway":
                    self._tell_gateway(node)

    def _models(self) -> tuple[ServedModel, ...]:
        return tuple(
            ServedModel(
                id=name,
                model=deployment.spec.model,
                backend=deployment.spec.backend,
                revision=deployment.revision,
                hold_limit=deployment.spec.hold_limit,
                hold_timeout=deployment.spec.hold_timeout,
                created=deployment.created,
            )
            for name, deployment in sorted(self._deployments.items())
            if not deployment.deleting
        )

    def _learn_address(self, node: str, inventory: Inventory) -> None:
        """Remember where gateways reach a worker. It is not forgotten with the worker's link to the head:
        gateways may still reach a worker that the head does not."""
        address = WorkerAddress(node, inventory.host or self._peers[node].host, inventory.port)
        others = {
            n: a for n, a in self._addresses.items() if (a.host, a.port) != (address.host, address.port)
        }
        while len(others) >= MAX_ADDRESSES:
            del others[next(n for n in others if n not in self._peers)]
        self._addresses = {**others, node: address}

    def _tell_gateway(self, node: str) -> None:
        if self._table is not None:
            self.context.system.named(GATEWAY, NodeId(node)).tell(self._table)

    async def _keep(self, write: Any) -> bool:
        """Write to the store; a failure is logged, and what depends on it is done at the next occasion."""
        try:
            await to_thread.run_sync(write)
        except StoreProblem as problem:
            log.error("controller.store", problem=str(problem))  # noqa: TRY400 - a full disk is no bug
            return False
        return True
