"""The head's actor: takes control requests and reports, and sends orders to workers and tables to gateways.

It may be restarted at any moment, since its state can be rebuilt: deployments are in the store, and workers
report their replicas. After a start it sends no order until each worker in the store has reported, or
``settle_time`` is over: a head that does not know the running engines yet must not stop them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import structlog
from anyio import to_thread
from attrs import evolve, frozen

from sllm_actors.actors import Actor, NodeId, Reply, Timer
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.decisions.reconcile import Deployment, reconcile, used_gpus
from sllm_actors.serving.decisions.waiting import next_due, why_overdue, with_waits
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .admission import AdmissionVerdict, Proposal, propose
from .answers import being_deleted, being_deployed, deployed, done, store_away, unknown
from .controller_store import ControllerStore
from .describe import describe_cluster, describe_deployment
from .guide import guide_instances, guide_worker
from .inspection import (
    AGAIN_AFTER,
    Fitness,
    WorkerLife,
    ask_about_deployments,
    ask_workers,
    with_answers,
    without_answers,
)
from .known_nodes import KnownNodes
from .messages import (
    GATEWAY,
    WORKER,
    ControlAnswer,
    DeleteDeployment,
    Deploy,
    Describe,
    DescribeInstances,
    DescribeWorkers,
    DesiredReplicas,
    DrainNode,
    PauseRollout,
    Refusal,
    RefusalKind,
    ResumeRollout,
    RoutingTable,
    UndrainNode,
    UpdateDeployment,
    WorkerReport,
)
from .routing_tables import RoutingTables
from .store.problem import StoreProblem

log = structlog.get_logger("sllm_actors.controller")

REPEAT_INTERVAL = 5.0
"""Seconds after which gateways get their table again, and failed writes to the store are retried."""


@frozen
class _Settle:
    """``settle_time`` is over: workers that have not reported are waited for no longer."""


@frozen
class _Repeat:
    """See ``REPEAT_INTERVAL``."""


@frozen
class _Due:
    """A replica may have waited for a place longer than its start-up timeout."""


@frozen
class _AskAgain:
    """A worker is to be asked again about deployments that it gave no answer on."""

    life: WorkerLife


@frozen
class _Asked:
    """The workers' answers on a proposal, whose author waits for ``reply``."""

    verdict: AdmissionVerdict
    reply: Reply


class Controller(Actor):
    """The head's actor; see the module.

    Args:
        store: An open store; it is used in threads, and closed by whoever opened it.
        peers: Returns the nodes that are linked now.
        epoch: The counter of the head's life (of its incarnation).
        table_numbers: Yields numbers for routing tables, which rise also over restarts of this actor.
        settle_time: Seconds to wait for workers after a start, see the module.
    """

    def __init__(
        self,
        store: ControllerStore,
        *,
        peers: Callable[[], tuple[Peer, ...]],
        epoch: int,
        table_numbers: Iterator[int],
        settle_time: float = 10.0,
    ) -> None:
        self._store = store
        self._linked = peers
        self._settle_time = settle_time
        self._nodes = KnownNodes()
        self._tables = RoutingTables(epoch, table_numbers)
        self._deployments: dict[str, Deployment] = {}
        self._placements: dict[ReplicaKey, str] = {}
        self._sent: dict[str, DesiredReplicas] = {}
        self._awaited: set[str] = set()
        self._admitting: set[str] = set()
        self._inspecting: set[WorkerLife] = set()
        self._due: Timer | None = None

    async def started(self) -> None:
        """Read the store, and take the nodes that are linked already."""
        for stored in await to_thread.run_sync(self._store.deployments):
            self._deployments[stored.spec.id] = Deployment(
                stored.spec, stored.revision, stored.deleting, stored.next_number, stored.created
            )
        self._awaited = await to_thread.run_sync(self._store.nodes, "worker")
        if self._awaited:
            self.context.after(self._settle_time, _Settle())
        self.context.after(REPEAT_INTERVAL, _Repeat())
        for peer in self._linked():
            await self._link_up(peer)
        await self._apply()

    async def receive(self, message: Any) -> Any:
        """Take a control request (answered with ``ControlAnswer``), a report, or a change of a link."""
        match message:
            case WorkerReport():
                await self._report(message)
            case Describe():
                return self._describe(message.deployment)
            case DescribeWorkers():
                return done(self._workers_for_guide())
            case DescribeInstances():
                return done(guide_instances(self._deployments, self._nodes.workers, self._placements))
            case Deploy():
                return self._deploy(message.document)
            case DeleteDeployment():
                return await self._delete(message.deployment)
            case UpdateDeployment() | PauseRollout() | ResumeRollout() | DrainNode() | UndrainNode():
                sentence = "this head cannot do that yet: delete the deployment and deploy it anew"
                return Refusal(RefusalKind.UNAVAILABLE, "not_yet", sentence)
            case PeerUp(peer):
                await self._link_up(peer)
            case PeerLost(peer, reason):
                await self._link_lost(peer, reason)
            case _Asked(verdict, reply):
                await self._admit(verdict, reply)
            case Fitness():
                await self._learn_fitness(message)
            case _AskAgain(life):
                self._inspecting.discard(life)
                self._inspect(life.node)
            case _Settle():
                await self._settle()
            case _Repeat():
                await self._repeat()
            case _Due():
                await self._apply()
            case _:
                return await super().receive(message)
        return None

    # ---- nodes

    async def _link_up(self, peer: Peer) -> None:
        if not self._nodes.link_up(peer, time.time()):
            return
        self._sent.pop(peer.node, None)
        self._deployments.update(without_answers(self._deployments, peer.node))
        if peer.role == "worker":  # to be waited for after a restart
            await self._keep(partial(self._store.saw_node, peer.node, peer.role, time.time()))
        if peer.role == "gateway" and self._tables.current is not None:
            self._tell_gateway(peer.node, self._tables.current)

    async def _link_lost(self, peer: Peer, reason: str) -> None:
        if self._nodes.link_lost(peer, reason, time.time()):
            self._sent.pop(peer.node, None)
            self._deployments.update(without_answers(self._deployments, peer.node))
            await self._apply()

    async def _report(self, report: WorkerReport) -> None:
        if not self._nodes.report(report):
            return
        node = report.node
        self._awaited.discard(node)
        self._inspect(node)
        ordered = {order.key for order in self._sent.get(node, DesiredReplicas()).orders}
        if ordered != set(self._nodes.workers[node].replicas):
            self._sent.pop(node, None)  # an order, or the report of its end, was lost: say it again
        await self._apply()

    async def _settle(self) -> None:
        if self._awaited:
            log.warning("controller.workers_missing", nodes=sorted(self._awaited))
            gone = self._awaited - set(self._nodes.linked("worker"))
            await self._keep(partial(self._store.forget_nodes, gone))
            self._awaited.clear()
            await self._apply()

    async def _repeat(self) -> None:
        self.context.after(REPEAT_INTERVAL, _Repeat())
        await self._apply()
        if self._tables.current is not None:
            for node in self._nodes.linked("gateway"):
                self._tell_gateway(node, self._tables.current)

    # ---- who can run what

    def _life_of(self, node: str) -> WorkerLife | None:
        peer, worker = self._nodes.life_of(node), self._nodes.workers.get(node)
        gpus = len(worker.inventory.gpus) if worker else 0
        return None if peer is None else WorkerLife(node, peer.incarnation, gpus)

    def _inspect(self, node: str) -> None:
        """Ask a worker about the deployments that it gave no answer on yet, unless it is just being asked."""
        life = self._life_of(node)
        if life is None or node not in self._nodes.workers or life in self._inspecting:
            return
        unknown = [d for _, d in sorted(self._deployments.items()) if node not in d.unfit and not d.deleting]
        if unknown:
            self._inspecting.add(life)
            self.context.start_soon(self._ask_about, life, unknown)

    async def _ask_about(self, life: WorkerLife, deployments: list[Deployment]) -> None:
        self.context.ref.tell(await ask_about_deployments(self.context.system, life, deployments))

    async def _learn_fitness(self, fitness: Fitness) -> None:
        life = fitness.life
        if life != self._life_of(life.node):
            self._inspecting.discard(life)
            return
        self._deployments.update(with_answers(self._deployments, fitness))
        if fitness.complete:
            self._inspecting.discard(life)
            self._inspect(life.node)
        else:
            self.context.after(AGAIN_AFTER, _AskAgain(life))
        await self._apply()

    # ---- control requests

    def _describe(self, name: str) -> ControlAnswer:
        workers, placements = self._nodes.workers, self._placements
        if name:
            deployment = self._deployments.get(name)
            if deployment is None:
                return unknown(name)
            return done(describe_deployment(deployment, workers, placements))
        cluster = describe_cluster(self._deployments, self._nodes.views, workers, placements)
        return done(cluster)

    def _workers_for_guide(self) -> list[dict[str, Any]]:
        workers = self._nodes.workers
        views = [view for view in self._nodes.views if view.role == "worker"]
        used = {view.id: used_gpus(view.id, self._deployments, workers, self._placements) for view in views}
        return [guide_worker(view, workers.get(view.id), used[view.id]) for view in views]

    def _deploy(self, document: str) -> ControlAnswer | None:
        proposal = propose(document, self._deployments, self._admitting)
        if not isinstance(proposal, Proposal):
            return proposal
        self._admitting.add(proposal.spec.id)
        self.context.start_soon(self._ask_workers, proposal, self.context.reply_later())
        return None

    async def _ask_workers(self, proposal: Proposal, reply: Reply) -> None:
        lives = [life for node in sorted(self._nodes.workers) if (life := self._life_of(node)) is not None]
        answers = await ask_workers(self.context.system, lives, proposal.spec)
        self.context.ref.tell(_Asked(AdmissionVerdict(proposal, len(lives), answers), reply))

    async def _admit(self, verdict: AdmissionVerdict, reply: Reply) -> None:
        """Store a deployment, unless every worker has refused it."""
        spec, answers = verdict.proposal.spec, verdict.answers
        self._admitting.discard(spec.id)
        if verdict.refused and not self._awaited:
            reply.send(Refusal(RefusalKind.INVALID, "invalid_deployment", verdict.refused, "source"))
            return
        try:
            stored = await to_thread.run_sync(self._store.deploy, spec, time.time())
        except StoreProblem as problem:
            reply.send(store_away(str(problem)))
            return
        unfit = {life.node: said for life, said in answers.items() if life == self._life_of(life.node)}
        deployment = Deployment(
            spec, stored.revision, next_number=stored.next_number, created=stored.created, unfit=unfit
        )
        self._deployments[spec.id] = deployment
        log.info("deployment.created", deployment=spec.id, revision=stored.revision)
        await self._apply()
        for node in sorted(self._nodes.workers):
            self._inspect(node)
        reply.send(deployed(deployment, verdict.proposal.warnings, created=True))

    async def _delete(self, name: str) -> ControlAnswer:
        if name in self._admitting:
            return being_deployed(name)
        deployment = self._deployments.get(name)
        if deployment is None:
            return unknown(name)
        if not deployment.deleting:
            try:
                await to_thread.run_sync(self._store.set_deleting, name)
            except StoreProblem as problem:
                return store_away(str(problem))
            self._deployments[name] = evolve(deployment, deleting=True)
            log.info("deployment.deleting", deployment=name)
            await self._apply()
        return being_deleted(name)

    # ---- what follows

    async def _apply(self) -> None:
        """Decide what should run where, and send what has changed to workers and gateways."""
        if self._awaited:
            return
        plan = reconcile(self._deployments, self._nodes.workers, self._placements)
        reserve = partial(self._store.reserve_numbers, plan.next_numbers)
        if not plan.next_numbers or await self._keep(reserve):
            for name, number in plan.next_numbers.items():
                self._deployments[name] = evolve(self._deployments[name], next_number=number)
            self._placements = dict(plan.placements)
            self._note_waits(plan.unplaced)
            for node, orders in plan.orders.items():
                self._order(node, DesiredReplicas(orders))
            for name in plan.gone:
                if await self._keep(partial(self._store.forget, name)):
                    del self._deployments[name]
                    log.info("deployment.deleted", deployment=name)
        table = self._tables.update(self._deployments, self._nodes.addresses)
        if table is not None:
            for node in self._nodes.linked("gateway"):
                self._tell_gateway(node, table)

    def _note_waits(self, unplaced: tuple[str, ...]) -> None:
        before, now = self._deployments, self.context.now()
        self._deployments = with_waits(before, unplaced, self._nodes.workers, self._placements, now)
        for name, each in self._deployments.items():
            if why_overdue(each) and not why_overdue(before[name]):
                log.warning("deployment.no_place", deployment=name, reason=why_overdue(each))
        if self._due is not None:
            self._due.cancel()
        due = next_due(self._deployments)
        self._due = None if due is None else self.context.after(max(0.0, due - now), _Due())

    def _order(self, node: str, desired: DesiredReplicas) -> None:
        if self._sent.get(node) != desired:
            self._sent[node] = desired
            self.context.system.named(WORKER, NodeId(node)).tell(desired)

    def _tell_gateway(self, node: str, table: RoutingTable) -> None:
        self.context.system.named(GATEWAY, NodeId(node)).tell(table)

    async def _keep(self, write: Callable[[], None]) -> bool:
        """Write to the store; return False, after logging it, if that failed: ``_Repeat`` tries again."""
        try:
            await to_thread.run_sync(write)
        except StoreProblem as problem:
            log.error("controller.store", problem=str(problem))  # noqa: TRY400 - a full disk is no bug
            return False
        return True
