"""The worker's actor: runs the replicas that the head orders, and reports them to head and gateways.

It goes on without the head: replicas stay, and are restarted by their own actors. Nothing is started without
an order to run it, and nothing is stopped without an order that says so, and why.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any, Final

import anyio
import structlog
from anyio import to_thread
from attrs import evolve, frozen

from sllm_actors.actors import (
    Actor,
    ActorRef,
    Alarm,
    Down,
    NodeId,
    Reply,
    StartFailed,
)
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    ConfirmEngine,
    InspectSource,
    LogChunk,
    OrderChanged,
    ReadLog,
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    SleepReplica,
    SourceInspected,
    StopReplica,
    WakeReplica,
)
from sllm_actors.serving.differences.feed import TICK_INTERVAL
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.links.known_links import LOOK_INTERVAL, KnownLinks
from sllm_actors.serving.messages import (
    GATEWAY,
    ControlAnswer,
    FindResponse,
    ReadDocument,
    Refusal,
    RefusalKind,
    ReplicaDocument,
    ResponseFound,
    ResponseMade,
    SleepInstance,
    WakeInstance,
    Withdrawn,
)
from sllm_actors.serving.pulls.messages import CancelPull, DescribePull, PullModel
from sllm_actors.serving.pulls.pulls import Pulls
from sllm_actors.serving.sticky_ids import StickyIds
from sllm_actors.serving.streams import ORDERS, AskReplicas, OrdersDifference, OrdersPage
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .feed import ReplicaFeed
from .heads import Heads, OrderMessage
from .leaving import STOPPING, Leave, TimeIsUp
from .machine import LookAtDeclined, LookAtMachine, MachineWatch
from .orders.assignments import Assignments
from .orders.effects import (
    ChangeTier,
    Check,
    Effect,
    Forget,
    PassOn,
    Refuse,
    Retire,
    Say,
    SayGone,
    Start,
    Welcome,
)
from .questions import Questions, confirm
from .replicas import Replicas
from .running import RunningReplicas
from .runtime import WorkerRuntime
from .tiers import Decide, put_to_sleep, wake_up
from .withdrawals import Withdrawals

log = structlog.get_logger("sllm_actors.worker")

LOG_THREADS: Final = 8
"""Threads that read logs of replicas at a time."""


@frozen
class _Tick:
    """Time for beats."""


@frozen
class _Look:
    """Time to look at who is linked."""


@frozen
class _Retry:
    """Time to start again what rests."""


@frozen
class _Checked:
    """The result of a check."""

    key: ReplicaKey
    number: int
    problem: str


class WorkerActor(Actor):
    """The worker's actor; see the module.

    Args:
        runtime: What it needs of its node.
        replicas: Gets the reports of the replicas, for those that read them without asking the actor.
    """

    _feed: ReplicaFeed
    _heads: Heads
    _machine: MachineWatch
    _pulls: Pulls
    _questions: Questions
    _retry: Alarm
    _running: RunningReplicas

    def __init__(self, runtime: WorkerRuntime, replicas: Replicas) -> None:
        self._runtime = runtime
        self._replicas = replicas
        self._assignments = Assignments(slots=runtime.slots)
        self._withdrawals = Withdrawals()
        self._made = StickyIds()
        self._links = KnownLinks()
        self._gateways: set[str] = set()
        self._ticking = False
        self._leaving: Reply | None = None
        self._log_threads = anyio.CapacityLimiter(LOG_THREADS)

    async def started(self) -> None:
        """Read the inventory, and follow and report to the nodes that are linked already."""
        context, runtime = self.context, self._runtime
        life = self._replicas.begin(context.system.incarnation.counter)
        self._feed = ReplicaFeed(self._replicas, context.system.node, life)
        self._heads = Heads(context, runtime.epoch)
        self._running = RunningReplicas(context, runtime.make_replica)
        self._questions = Questions(context)
        self._pulls = Pulls(context.start_soon, runtime.models, runtime.interpreter, runtime.name)
        self._retry = Alarm(context, _Retry())
        lifted = self._assignments.lifted
        self._machine = MachineWatch(context, runtime, self._replicas, self._heads, lifted)
        await self._machine.start(life)
        self._look()

    async def receive(self, message: Any) -> Any:
        """Take orders, reports of replicas, changes of links, and questions, which are answered in tasks."""
        answer = await self._take(message)
        self._feed.publish()
        self._retry.set(self._assignments.due(), self.context.now())
        return answer

    async def _take(self, message: Any) -> Any:
        match message:
            case OrdersDifference() | OrdersPage() | Beat(stream=ORDERS.name):
                await self._follow(message)
            case AskReplicas():
                self._feed.answer(message)
            case ReplicaChanged(report):
                self._report(report)
            case Down(ref=ref, reason=reason):
                await self._ended(ref, "" if reason.is_normal else str(reason))
            case Withdrawn():
                self._withdrawals.said(message)
                self._let_go()
            case PeerUp(peer):
                self._link_up(peer)
            case PeerLost(peer, _):
                self._link_lost(peer)
            case _Checked(key, number, problem):
                await self._carry_out(self._assignments.checked(key, number, problem, self.context.now()))
            case _Retry():
                self._retry.rang()
                await self._carry_out(self._assignments.wake(self.context.now()))
            case _Tick():
                self._tick()
            case _Look():
                self._look()
            case LookAtMachine() | LookAtDeclined():
                self._machine.look(message)
            case Leave() | TimeIsUp():
                self._leave(message)
            case _:
                return await self._answer(message)
        return None

    async def _answer(self, message: Any) -> Any:
        match message:
            case InspectSource():
                self._questions.answer(partial(self._inspect, message))
            case ReadLog():
                self._questions.answer(partial(self._read_log, message))
            case ConfirmEngine():
                self._questions.answer(partial(confirm, self._running.at(message.id.key), message))
            case PullModel() | DescribePull() | CancelPull():
                self._questions.answer(partial(self._pulls.answer, message))
            case ResponseMade(id=replica, made=made):
                self._made.remember(made, replica)
            case FindResponse(made):
                return ResponseFound(self._made.find(made))
            case ReadDocument(key):
                return ReplicaDocument(self._assignments.document(key))
            case SleepInstance(key, level):
                return self._change_tier(key, partial(put_to_sleep, level=level))
            case WakeInstance(key):
                return self._change_tier(key, wake_up)
            case _:
                return await super().receive(message)
        return None

    # ---- orders

    async def _follow(self, message: OrderMessage) -> None:
        before = (self._runtime.epoch.value, self._heads.obeyed)
        orders = await self._heads.take(message)
        if (self._runtime.epoch.value, self._heads.obeyed) != before:
            self._machine.tell()
        for order in orders.put:
            await self._carry_out(self._assignments.take(order))
        for key in orders.removed:
            await self._carry_out(self._assignments.withdrawn(key))

    async def _carry_out(self, effects: list[Effect]) -> None:
        if self._leaving is not None:
            return  # nothing begins here any more
        for effect in effects:
            match effect:
                case Check():
                    self.context.start_soon(self._check, effect)
                case Start(order):
                    await self._start(order)
                case Retire(key, reason, if_idle, patience):
                    log.info("replica.stopped", replica=str(key), reason=reason, if_idle=if_idle)
                    self._running.tell(key, StopReplica(reason, if_idle=if_idle, patience=patience))
                case ChangeTier(key, level, patience):
                    log.info("replica.tier", replica=str(key), level=level)
                    asleep = SleepReplica(level or 0, if_idle=True, patience=patience)
                    self._running.tell(key, WakeReplica() if level is None else asleep)
                case PassOn(order):
                    self._running.tell(order.key, OrderChanged(order))
                case Say(report):
                    known = self._replicas.at(report.id.key)
                    named = report if known is None else evolve(report, id=known.id)
                    self._report(evolve(named, since=time.time()))
                case SayGone(key):
                    self._feed.gone(key)
                case Forget(key):
                    self._feed.remove(key)
                case Refuse(question, problem):
                    log.warning("replica.refused", source=question.source, reason=problem)
                    self._machine.refused(question)
                case Welcome():
                    self._machine.welcome()

    async def _check(self, check: Check) -> None:
        """Find out whether a replica can run here. A check that fails says nothing: the start will tell."""
        problem = ""
        try:
            problem = (await self._runtime.inspect(check.question)).problem
        except Exception as error:  # noqa: BLE001 - whatever a check meets must end no replica
            reason = f"{type(error).__name__}: {error}"[:300]
            log.warning("replica.not_checked", replica=str(check.key), error=reason)
        self.context.after(0, _Checked(check.key, check.number, problem))

    async def _start(self, order: ReplicaOrder) -> None:
        try:
            await self._running.start(order)
        except StartFailed as failure:
            log.error("replica.not_started", replica=str(order.key), reason=str(failure))  # noqa: TRY400
            await self._gone(order.key, str(failure))

    async def _ended(self, ref: ActorRef, failure: str) -> None:
        key = self._running.ended(ref)
        if key is not None:
            self._withdrawals.ended(key)
            await self._gone(key, failure)

    async def _gone(self, key: ReplicaKey, failure: str) -> None:
        if self._leaving is not None:
            self._feed.remove(key)
            self._left()
            return
        now, chance = self.context.now(), random.random()  # noqa: S311
        await self._carry_out(self._assignments.ended(key, failure, now=now, chance=chance))

    # ---- the end

    def _leave(self, message: Leave | TimeIsUp) -> None:
        """Let all replicas end: once their requests have ended, or, when the time is up, at once.

        The head hears no more: it would place others for what may be back in a moment.
        """
        drain = isinstance(message, Leave)
        if isinstance(message, Leave):
            self._leaving = self.context.reply_later()
            self.context.after(message.patience, TimeIsUp())
            for peer in self._runtime.peers():
                if peer.role == "head":
                    self._feed.unfollow(peer.node)
        self._running.tell_all(StopReplica(STOPPING, drain=drain))
        self._left()

    def _left(self) -> None:
        if self._leaving is not None and not len(self._running):
            self._leaving.send(None)

    # ---- replicas

    def _report(self, report: ReplicaReport) -> None:
        self._feed.put(report, self.context.now())
        self._withdrawals.reported(report)
        self._let_go()

    def _let_go(self) -> None:
        """Let replicas end, or sleep, of which each linked gateway has let go."""
        for drained in self._withdrawals.complete(self._gateways):
            ref = self._running.at(drained.id.key)
            if ref is not None:
                ref.tell(drained)

    def _change_tier(self, key: ReplicaKey, decide: Decide) -> ControlAnswer:
        report = self._replicas.at(key)
        if report is None or self._running.at(key) is None:
            sentence = f"there is no instance {key} here: `sllm status` lists them"
            return Refusal(RefusalKind.UNKNOWN, "not_found", sentence)
        answer, wish = decide(report)
        if wish is not None:
            log.info("replica.tier", replica=str(report.id), wish=type(wish).__name__)
            self._running.tell(key, wish)
        return answer

    # ---- links

    def _look(self) -> None:
        """Notice links of which the news was lost in a full mailbox."""
        self.context.after(LOOK_INTERVAL, _Look())
        gone, new = self._links.missed(self._runtime.peers())
        for peer in gone:
            self._link_lost(peer)
        for peer in new:
            self._link_up(peer)

    def _link_up(self, peer: Peer) -> None:
        self._links.up(peer)
        if peer.role == "head" and self._leaving is not None:
            return
        if peer.role == "head" and peer.outbound:  # obeyed is only a head that this worker dialled
            self._feed.follow(peer.node, self._heads.controller(peer.node))
            self._machine.tell([peer.node])
            if self._heads.link_up(peer.node, self._assignments.stops):
                self._machine.tell()  # to the others too: they hear whom this worker obeys beside them
        elif peer.role == "gateway":
            self._gateways.add(peer.node)
            self._feed.follow(peer.node, self.context.system.named(GATEWAY, NodeId(peer.node)))
        if self._feed.has_followers and not self._ticking:
            self._ticking = True
            self.context.after(TICK_INTERVAL, _Tick())

    def _link_lost(self, peer: Peer) -> None:
        if not self._links.lost(peer):
            return
        if self._heads.link_lost(peer.node):
            self._machine.tell()
        self._gateways.discard(peer.node)
        self._feed.unfollow(peer.node)
        self._let_go()

    def _tick(self) -> None:
        self._feed.tick(self.context.now())
        self._ticking = self._feed.has_followers
        if self._ticking:
            self.context.after(TICK_INTERVAL, _Tick())

    # ---- questions

    async def _inspect(self, question: InspectSource) -> SourceInspected:
        answer = await self._runtime.inspect(question)
        if answer.problem:
            self._machine.refused(question)
        return answer

    async def _read_log(self, question: ReadLog) -> LogChunk:
        return await to_thread.run_sync(self._runtime.read_log, question, limiter=self._log_threads)
