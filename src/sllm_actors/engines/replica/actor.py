"""The actor that runs one replica: a shell around the state machine in ``lifecycle``."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import anyio
import anyio.to_thread
import structlog
from attrs import evolve, frozen

from sllm_actors.actors import Actor, ActorRef, ExitReason, Reply
from sllm_actors.descriptors import explain
from sllm_actors.engines import life_end
from sllm_actors.engines.backends.external import External
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import (
    IDLE_PATIENCE,
    ConfirmEngine,
    Drained,
    EngineConfirmed,
    OrderChanged,
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SleepReplica,
    StopReplica,
    WakeReplica,
)
from sllm_actors.observe.redaction import masked_text

from .engine_life import EngineLife
from .events import (
    AwaitDrained,
    AwaitRetry,
    Cleared,
    DrainOver,
    Ended,
    EndEngine,
    Event,
    Finish,
    Launched,
    Ordered,
    PutToSleep,
    Report,
    RetryDue,
    SleepAsked,
    StartEngine,
    StopAsked,
    Unreached,
    WakeAsked,
    WakeUp,
)
from .lifecycle import Replica, step

log = structlog.get_logger()

REPEAT = 5.0
"""Seconds between two reports of a replica of which nothing changes."""


@frozen
class _Timer:
    event: Event


@frozen
class _Repeat:
    """Report once more."""


class ReplicaActor(Actor):
    """Runs one replica as ordered, restarts its engine when that fails, and reports each change to its owner;
    and once more every ``REPEAT`` seconds, since a report does not fit into a mailbox that is full.

    It takes ``StopReplica``, ``Drained``, ``SleepReplica``, ``WakeReplica``, ``ConfirmEngine``, which it
    answers within a second, and ``OrderChanged``, of which a start that is under way takes no notice, nor
    does a drain. After ``StopReplica`` it reports STOPPED as soon as nothing of the engine is left, and
    ends normally. When its supervisor stops it, it ends the engine too, which may take
    ``EnginePolicy.stop_budget`` even if the supervisor allows less: no engine is left behind.

    Args:
        order: What to run.
        host: What the worker's engines share.
        owner: Gets a ``ReplicaChanged`` for each change.
    """

    def __init__(self, order: ReplicaOrder, *, host: EngineHost, owner: ActorRef) -> None:
        self._order = order
        self._host = host
        self._owner = owner
        self._replica = Replica(healthy_uptime=host.policy.health.healthy_uptime)
        self._since = time.time()
        self._events: deque[Event] = deque()
        self._busy = False
        self._seat = (
            anyio.Lock()
        )  # one engine life at a time: the next waits until nothing of the last is left
        self._lives: set[anyio.CancelScope] = set()
        self._life: EngineLife | None = None
        self._ending = False

    async def started(self) -> None:
        """Start the first engine life."""
        self._apply(Ordered())
        self.context.after(REPEAT, _Repeat())

    async def receive(self, message: Any) -> Any:
        """Take one of the messages that the class names."""
        match message:
            case StopReplica(reason, drain, if_idle, patience):
                self._apply(StopAsked(drain, reason, if_idle, patience))
            case SleepReplica(level, if_idle, patience):
                self._apply(SleepAsked(level, if_idle, patience))
            case WakeReplica():
                self._apply(WakeAsked())
            case OrderChanged(order):
                self._order = evolve(
                    self._order,
                    startup_timeout=order.startup_timeout,
                    drain_timeout=order.drain_timeout,
                    document=order.document,
                )
            case Drained(replica, withdrawal):
                if replica == self._order.key.attempt(self._replica.attempt):
                    self._apply(DrainOver(withdrawal))
            case ConfirmEngine(life):
                self.context.start_soon(self._confirm, life, self.context.reply_later())
            case _Timer(event=event):
                self._apply(event)
            case _Repeat():
                self._report()
                self.context.after(REPEAT, _Repeat())
            case _:
                return await super().receive(message)
        return None

    async def stopped(self, reason: ExitReason) -> None:
        """Report STOPPED after a normal end, unless that was reported already."""
        if reason.is_normal and self._replica.state is not ReplicaState.STOPPED:
            self._replica = evolve(self._replica, state=ReplicaState.STOPPED, address="", pid=0, progress="")
            self._since = time.time()
            self._report()

    # ---- the shell around ``step``: nothing here awaits, so the actor's turns and engine lives both call it

    def _apply(self, event: Event) -> None:
        self._events.append(event)
        if self._busy:  # called by an effect: the loop below takes the event next
            return
        self._busy = True
        try:
            while self._events:
                self._step(self._events.popleft())
        finally:
            self._busy = False

    def _step(self, event: Event) -> None:
        before = self._replica
        self._replica, effects = step(before, event, self.context.now())
        if (before.state, before.attempt) != (self._replica.state, self._replica.attempt):
            self._since = time.time()
        if isinstance(event, Ended):
            log.warning(
                "engine.ended", replica=str(self._order.key), attempt=event.attempt, reason=event.reason
            )
        if isinstance(event, Unreached) and self._replica != before:
            log.warning("server.unreachable", replica=str(self._order.key), reason=event.reason)
        for effect in effects:
            match effect:
                case Report():
                    self._report()
                case StartEngine():
                    self.context.start_soon(self._live, name=f"engine of {self._order.key}")
                case EndEngine():
                    self._end_engine()
                case PutToSleep() | WakeUp():
                    if self._life is not None:
                        self._life.change_tier(effect)
                case AwaitDrained(withdrawal, if_idle, patience):
                    if patience is None:
                        patience = IDLE_PATIENCE if if_idle else self._order.drain_timeout
                    self.context.after(patience, _Timer(DrainOver(withdrawal, late=True)))
                case AwaitRetry(delay=delay):
                    self.context.after(delay, _Timer(RetryDue()))
                case Finish():
                    self.context.stop()

    async def _confirm(self, life: ReplicaId, reply: Reply) -> None:
        """Answer whether an engine life serves; of one that is over, how it ended."""
        engine = self._life
        if life_end.is_over(life, self._reported()) or engine is None:
            reply.send(self._end_of(life))
            return
        try:
            found = await engine.confirm()
        except Exception as error:  # noqa: BLE001 - whatever a question meets must not end the replica
            reason = f"{type(error).__name__}: {error}"[:300]
            log.warning("engine.not_confirmed", replica=str(life), reason=reason)
            reply.fail(error)
        else:
            reply.send(found if found.serving or found.died else self._end_of(life, found))

    def _end_of(self, life: ReplicaId, found: EngineConfirmed | None = None) -> EngineConfirmed:
        report = self._reported()
        if found is not None and not life_end.is_over(life, report):
            return found
        return EngineConfirmed(died=life_end.died(life, report), reason=report.reason or "it has ended")

    def _report(self) -> None:
        self._owner.tell(ReplicaChanged(self._reported()))

    def _reported(self) -> ReplicaReport:
        replica = self._replica
        listening = replica.address != ""
        return ReplicaReport(
            id=self._order.key.attempt(replica.attempt),
            state=replica.state,
            address=replica.address,
            machine=self._host.machine if listening else "",
            progress=replica.progress,
            downloading=replica.downloading and replica.state is ReplicaState.STARTING,
            reason=masked_text(replica.reason),
            exit_status=replica.exit_status,
            log_tail=tuple(masked_text(line) for line in replica.log_tail),
            pid=replica.pid,
            since=self._since,
            retry_in=replica.retry_in,
            failures=replica.failures,
            can_sleep=replica.can_sleep,
            withdrawal=replica.withdrawal,
            key=replica.key if listening else "",
            starts=replica.starts,
            server=replica.server if listening else None,
            gpus=self._order.num_gpus,
            fingerprint=self._order.fingerprint,
            concurrency=replica.concurrency,
            context_length=replica.context_length,
            level=replica.level,
            if_idle=replica.if_idle and replica.leaving,
            declined=replica.declined,
            memory_short=replica.memory_short,
            started_in=replica.started_in,
            woke_in=replica.woke_in,
            devices=replica.devices,
            gpu_reserved=replica.gpu_reserved,
            memory=replica.memory,
            gpu_memory=replica.gpu_memory,
            waiting=replica.pressure.waiting,
            kv_used=replica.pressure.kv,
            gpu_share=self._order.gpu_memory,
            gpu_figures=replica.gpu_figures,
            gpu_used=replica.gpu_used,
            gpu_lacked=replica.gpu_lacked,
        )

    def _end_engine(self) -> None:
        self._ending = True
        if not self._lives:
            self._apply(Cleared())
        for scope in self._lives:
            scope.cancel()

    async def _live(self) -> None:
        with anyio.CancelScope() as scope:
            self._lives.add(scope)
            try:
                async with self._seat:
                    await self._run_engine()
            finally:
                self._lives.discard(scope)
                if self._ending and not self._lives:
                    self._apply(Cleared())

    async def _run_engine(self) -> None:
        try:
            attempt = await anyio.to_thread.run_sync(self._host.next_attempt)
        except OSError as error:
            reason = f"the number of the attempt cannot be recorded: {explain(error)}"
            self._apply(Ended(self._replica.attempt, reason))
            return
        reaching = f"reaching {self._order.source}"
        external = self._order.backend == External.name
        self._apply(Launched(attempt, reaching) if external else Launched(attempt))
        self._life = EngineLife(self._order, self._host, attempt, self._apply, self._replica.starts)
        try:
            await self._life.run()
        finally:
            self._life = None
