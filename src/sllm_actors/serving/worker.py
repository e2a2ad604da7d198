"""The worker's actor: runs the replicas that the head orders, and reports them to head and gateways.

It goes on without the head: replicas stay, and are restarted by their own actors. A replica is started only
when the last ``DesiredReplicas`` names it, and stopped only when that no longer names it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import structlog
from anyio import to_thread
from attrs import frozen

from sllm_actors.actors import (
    TEMPORARY,
    Actor,
    ActorRef,
    ChildSpec,
    Down,
    ExitReason,
    MailboxFull,
    NodeId,
    Reply,
    StartFailed,
    Timer,
)
from sllm_actors.engines.identity import ReplicaId, ReplicaKey
from sllm_actors.engines.messages import (
    Drained,
    InspectSource,
    LogChunk,
    ReadLog,
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
    StopReplica,
)
from sllm_actors.transport import Peer, PeerLost, PeerUp

from .crashes import Crash, after_crash
from .messages import (
    CONTROLLER,
    GATEWAY,
    ControlAnswer,
    DesiredReplicas,
    Inventory,
    Refusal,
    RefusalKind,
    ReplicaStates,
    SleepInstance,
    WakeInstance,
    Withdrawn,
    WorkerReport,
)
from .replicas import Replicas
from .tiers import Decide, put_to_sleep, wake_up

log = structlog.get_logger("sllm_actors.worker")

REPORT_INTERVAL = 5.0
"""Seconds between two reports while nothing changes."""

RETRY_INTERVAL = 1.0
"""Seconds before a replica that was ordered again while it ended is started."""

REPLICA_STOP_BUDGET = 30.0
"""Seconds that a replica's actor gets to end when the worker stops."""

MAX_QUESTIONS = 64
"""The most requests (``InspectSource``, ``ReadLog``) that are answered at a time; others are refused."""

QUESTION_THREADS = 8


@frozen
class WorkerRuntime:
    """What a ``WorkerActor`` needs of its node. Functions that block are called in threads.

    Attributes:
        make_replica: Makes the actor of a replica, which reports to the given ref.
        inspect: Answers ``InspectSource``, in a limited time even if a disk does not answer.
        read_log: Reads a piece of a replica's log; blocks.
        inventory: Returns what the machine has; blocks.
        peers: Returns the nodes that are linked now.
    """

    make_replica: Callable[[ReplicaOrder, ActorRef], Actor]
    inspect: Callable[[InspectSource], Awaitable[SourceInspected]]
    read_log: Callable[[ReadLog], LogChunk]
    inventory: Callable[[], Inventory]
    peers: Callable[[], tuple[Peer, ...]]


@frozen
class _Tick:
    """Time to report although nothing has changed."""


@frozen
class _Retry:
    """Time to look again at what is wanted and not there."""


class WorkerActor(Actor):
    """The worker's actor; see the module.

    Args:
        runtime: What it needs of its node.
        replicas: Gets the reports of the replicas, for those that read them without asking the actor.
    """

    def __init__(self, runtime: WorkerRuntime, replicas: Replicas) -> None:
        self._runtime = runtime
        self._replicas = replicas
        self._inventory = Inventory()
        self._desired: dict[ReplicaKey, ReplicaOrder] = {}
        self._running: dict[ReplicaKey, ActorRef] = {}
        self._stopping: set[ReplicaKey] = set()
        self._heads: set[str] = set()
        self._gateways: set[str] = set()
        self._started_at: dict[ReplicaKey, float] = {}
        self._crashes: dict[ReplicaKey, Crash] = {}
        self._withdrawn: dict[ReplicaId, set[str]] = {}
        self._retry: Timer | None = None
        self._retry_at = 0.0
        self._questions = 0
        self._threads = anyio.CapacityLimiter(QUESTION_THREADS)

    async def started(self) -> None:
        """Read the inventory, and report to the nodes that are linked already."""
        self._replicas.clear()
        self._inventory = await to_thread.run_sync(self._runtime.inventory)
        for peer in self._runtime.peers():
            self._link_up(peer)
        self.context.after(REPORT_INTERVAL, _Tick())

    async def receive(self, message: Any) -> Any:
        """Take orders, reports of replicas, changes of links, and requests, which are answered in tasks."""
        match message:
            case DesiredReplicas(orders):
                self._desired = {order.key: order for order in orders}
                await self._close_difference()
            case ReplicaChanged(report):
                self._changed(report)
            case Down(ref=ref, reason=reason):
                self._ended(ref, reason)
            case Withdrawn():
                self._withdraw(message)
            case SleepInstance(key, level):
                return self._change_tier(key, partial(put_to_sleep, level=level))
            case WakeInstance(key):
                return self._change_tier(key, wake_up)
            case PeerUp(peer):
                self._link_up(peer)
            case PeerLost(peer, _):
                self._link_lost(peer)
            case InspectSource():
                self._answer(partial(self._runtime.inspect, message))
            case ReadLog():
                self._answer(partial(self._read_log, message))
            case _Retry():
                self._retry = None
                await self._close_difference()
            case _Tick():
                self.context.after(REPORT_INTERVAL, _Tick())
                await self._read_inventory()
                self._report_to(self._heads | self._gateways)
            case _:
                return await super().receive(message)
        return None

    # ---- replicas

    async def _close_difference(self) -> None:
        for key, ref in list(self._running.items()):
            if key not in self._desired and key not in self._stopping:
                self._stopping.add(key)
                ref.tell(StopReplica("it is no longer wanted here"))
        for key in self._crashes.keys() - self._desired.keys():
            del self._crashes[key]
            if key not in self._running:
                self._replicas.forget(key)
        for key, order in sorted(self._desired.items()):
            if key in self._running:
                continue
            crash = self._crashes.get(key)
            if crash is None or crash.again_at <= self.context.now():
                await self._start(order)
            else:
                self._retry_by(crash.again_at)

    async def _start(self, order: ReplicaOrder) -> None:
        spec = ChildSpec(
            id=str(order.key),
            factory=partial(self._runtime.make_replica, order, self.context.ref),
            restart=TEMPORARY,
            shutdown=REPLICA_STOP_BUDGET,
        )
        try:
            ref = await self.context.start_child(spec)
        except StartFailed as failure:
            log.error("replica.not_started", replica=str(order.key), reason=str(failure))  # noqa: TRY400
            self._crashed(order.key, str(failure), uptime=0.0)
            return
        self._running[order.key] = ref
        self._started_at[order.key] = self.context.now()
        self.context.monitor(ref)

    def _crashed(self, key: ReplicaKey, reason: str, *, uptime: float) -> None:
        """Report a replica whose actor failed, and schedule its restart."""
        now = self.context.now()
        crash = after_crash(
            self._crashes.get(key),
            reason,
            uptime=uptime,
            now=now,
            chance=random.random(),  # noqa: S311
        )
        self._crashes[key] = crash
        known = self._replicas.at(key)
        failed = ReplicaReport(
            key.attempt(0) if known is None else known.id,
            ReplicaState.FAILED,
            reason=crash.reason,
            since=time.time(),
            retry_in=crash.again_at - now,
            failures=crash.failures,
        )
        self._replicas.put(failed)
        self._retry_by(crash.again_at)

    def _retry_by(self, at: float) -> None:
        if self._retry is not None and self._retry_at > at:
            self._retry.cancel()
            self._retry = None
        if self._retry is None:
            self._retry_at = at
            self._retry = self.context.after(max(0.0, at - self.context.now()), _Retry())

    def _changed(self, report: ReplicaReport) -> None:
        before = self._replicas.find(report.id)
        self._replicas.put(report)
        known = None if before is None else (before.state, before.withdrawal)
        if report.state not in (ReplicaState.ASLEEP, ReplicaState.DRAINING):
            self._withdrawn.pop(report.id, None)
        elif known != (report.state, report.withdrawal):
            self._withdrawn[report.id] = set()
            self._check_drained(report.id)
        self._report_to(self._heads | self._gateways)

    def _ended(self, ref: ActorRef, reason: ExitReason) -> None:
        key = next((key for key, running in self._running.items() if running == ref), None)
        if key is None:
            return
        now = self.context.now()
        del self._running[key]
        uptime = now - self._started_at.pop(key)
        self._stopping.discard(key)
        for replica in [each for each in self._withdrawn if each.key == key]:
            del self._withdrawn[replica]
        if key in self._desired and not reason.is_normal:
            self._crashed(key, str(reason), uptime=uptime)
        else:
            self._replicas.forget(key)
            if key in self._desired:  # it was wanted again while it ended
                self._retry_by(now + RETRY_INTERVAL)
        self._report_to(self._heads | self._gateways)

    def _withdraw(self, said: Withdrawn) -> None:
        report = self._replicas.find(said.id)
        if report is not None and said.id in self._withdrawn and report.withdrawal == said.withdrawal:
            self._withdrawn[said.id].add(said.gateway)
            self._check_drained(said.id)

    def _check_drained(self, replica: ReplicaId) -> None:
        """Let a replica end, or sleep, once each linked gateway has sent ``Withdrawn`` for it."""
        report = self._replicas.find(replica)
        if self._gateways <= self._withdrawn[replica] and replica.key in self._running and report is not None:
            self._running[replica.key].tell(Drained(replica, report.withdrawal))

    def _change_tier(self, key: ReplicaKey, decide: Decide) -> ControlAnswer:
        report = self._replicas.at(key)
        if report is None or key not in self._running:
            sentence = f"there is no instance {key} here: `sllm status` lists them"
            return Refusal(RefusalKind.UNKNOWN, "not_found", sentence)
        answer, wish = decide(report)
        if wish is not None:
            log.info("replica.tier", replica=str(report.id), wish=type(wish).__name__)
            self._running[key].tell(wish)
        return answer

    # ---- links and reports

    def _link_up(self, peer: Peer) -> None:
        links = self._links_of(peer)
        if links is not None:
            links.add(peer.node)
            self._report_to({peer.node})

    def _link_lost(self, peer: Peer) -> None:
        links = self._links_of(peer)
        still = any(p.node == peer.node for p in self._runtime.peers())
        if links is not None and not still:
            links.discard(peer.node)
            for replica in list(self._withdrawn):
                self._check_drained(replica)

    def _links_of(self, peer: Peer) -> set[str] | None:
        return {"head": self._heads, "gateway": self._gateways}.get(peer.role)

    def _report_to(self, nodes: set[str]) -> None:
        system = self.context.system
        sequence = self._replicas.next_sequence()
        replicas = self._replicas.all()
        for node in sorted(nodes & self._heads):
            report = WorkerReport(system.node, sequence, self._inventory, replicas)
            system.named(CONTROLLER, NodeId(node)).tell(report)
        for node in sorted(nodes & self._gateways):
            states = ReplicaStates(system.node, sequence, replicas)
            system.named(GATEWAY, NodeId(node)).tell(states)

    async def _read_inventory(self) -> None:
        try:
            self._inventory = await to_thread.run_sync(self._runtime.inventory)
        except OSError as error:
            log.warning("worker.no_inventory", error=str(error))

    # ---- questions

    async def _read_log(self, question: ReadLog) -> LogChunk:
        return await to_thread.run_sync(self._runtime.read_log, question, limiter=self._threads)

    def _answer(self, question: Callable[[], Awaitable[Any]]) -> None:
        """Answer in a task of its own, so that a slow or failing answer disturbs no replica."""
        reply = self.context.reply_later()
        if self._questions >= MAX_QUESTIONS:
            reply.fail(MailboxFull("this worker answers too many questions already"))
            return
        self._questions += 1
        self.context.start_soon(self._find_answer, question, reply)

    async def _find_answer(self, question: Callable[[], Awaitable[Any]], reply: Reply) -> None:
        try:
            reply.send(await question())
        except Exception as error:  # noqa: BLE001 - whatever a question meets, its asker is told
            log.warning("worker.question_failed", error=f"{type(error).__name__}: {error}"[:300])
            reply.fail(error)
        finally:
            self._questions -= 1
