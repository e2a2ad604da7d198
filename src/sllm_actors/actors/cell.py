"""The life of one actor: from its first turn, through messages, to the moment when everybody is told that it ended.

A cell is what the system knows of an actor. It is driven by calls (deliver, stop, kill, a child or a job has ended) and by
turns that a runner gives it; between those it holds no task. Its end has steps, each begun by ``_advance`` when the one
before it is over: background work, children, the ``stopped`` hook, then ``_finish``.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import structlog

from .activity import Background, with_caller, without_chain
from .actor import Actor, Context, StartIgnored
from .asking import Port, Reply, as_ask_error
from .deadlines import Deadline
from .errors import ActorGone, AskError, CallCycle, MailboxFull, RemoteFailure, StartFailed
from .exits import KILLED, NORMAL, SHUTDOWN, Down, ExitReason, Failed
from .identity import Address
from .jobs import Job
from .mailbox import Lane, Mailbox
from .network import NO_METADATA, Metadata
from .reference import ActorRef
from .specs import ChildSpec, SupervisorSpec
from .timers import Timer
from .weight import weigh

if TYPE_CHECKING:
    from .runners import Runner
    from .supervisor import SupervisorCell
    from .system import ActorSystem

log = structlog.get_logger("sllm_actors.actors")


class Budget(Deadline):
    """Kills a cell that takes too long to end."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self._cell = cell

    def fire(self) -> None:
        log.warning("actor.killed", actor=str(self._cell), cause="it did not end within its shutdown budget")
        self._cell.kill()


class Cell:
    """What actors and supervisors have in common: a number, a name, watchers and a parent."""

    __slots__ = (
        "_budget",
        "_kill_at",
        "_label",
        "dead",
        "name",
        "number",
        "parent",
        "spec",
        "system",
        "watchers",
    )

    spec: ChildSpec | SupervisorSpec

    def __init__(
        self, system: ActorSystem, number: int, spec: ChildSpec | SupervisorSpec, parent: Parent | None
    ) -> None:
        self.system = system
        self.number = number
        self.spec = spec
        self.name = spec.name
        self.parent = parent
        self.dead = False
        self.watchers: dict[Any, Any] | None = None
        self._budget: Budget | None = None
        self._kill_at = math.inf
        self._label: str | None = None

    @property
    def label(self) -> str:
        """The actor as ``node/number``."""
        if self._label is None:
            self._label = f"{self.system.node}/{self.number}"
        return self._label

    @property
    def ref(self) -> ActorRef:
        return ActorRef(self.system, self.system.node, self.number, cell=self)

    @property
    def address(self) -> Address:
        return Address(self.system.node, self.system.incarnation, self.number)

    def __str__(self) -> str:
        return f"{self.label} ({self.name or self.spec.id})"

    def open(self) -> None:
        """Begin to live; report to the parent when that has succeeded or failed."""
        raise NotImplementedError

    def deliver(self, message: Any, port: Port | None, metadata: Metadata) -> None:
        """Take a message, or refuse it to whoever asked."""
        raise NotImplementedError

    def stop(self, reason: ExitReason) -> None:
        """End in good order."""
        raise NotImplementedError

    def kill(self) -> None:
        """End now."""
        raise NotImplementedError

    def _arm_budget(self) -> None:
        """Let the time run out that the spec allows for the end; nothing if it runs already."""
        if self._budget is None and 0 < self.spec.shutdown < math.inf:
            self._budget = Budget(self)
            self._kill_at = self.system.deadlines.add(self._budget, self.spec.shutdown)

    def _refuse(
        self, message: Any, port: Port | None, metadata: Metadata, reason: str, error: type[AskError]
    ) -> None:
        if port is not None:
            port.resolve(error(f"{self}: {reason}"))
        self.system.dead_letters.count(message, self.address, reason, self.system.clock.now())

    def _finish(self, reason: ExitReason) -> None:
        """Be dead: leave the system's tables and tell the watchers; the parent is told by the subclass."""
        self.dead = True
        if self._budget is not None:
            self.system.deadlines.cancel(self._budget)
            self._budget = None
        self.system.forget(self)
        if self.watchers is not None:
            self.system.monitors.ended(self, reason)


class Parent:
    """What a cell reports to: a supervisor, or the actor or system that a supervisor belongs to."""

    __slots__ = ()

    def child_started(self, cell: Cell) -> None:
        """The child is up."""
        raise NotImplementedError

    def child_failed_to_start(self, cell: Cell, reason: ExitReason, *, ignored: bool = False) -> None:
        """The child has ended without having been up."""
        raise NotImplementedError

    def child_ended(self, cell: Cell, reason: ExitReason) -> None:
        """The child was up, and has ended."""
        raise NotImplementedError


class Phase(IntEnum):
    """Where an actor is in its life."""

    NEW = 0
    RUNNING = 1
    ENDING = 2  # no message is handled any more; waits for jobs and children
    LAST = 3  # the stopped hook is to run, or runs
    DEAD = 4


class ActorCell(Cell, Parent):
    """One incarnation of one actor."""

    __slots__ = (
        "_ignored",
        "_last_done",
        "_up",
        "actor",
        "children",
        "context",
        "doom",
        "jobs",
        "mailbox",
        "phase",
        "port",
        "queued",
        "reason",
        "replies",
        "runner",
        "timers",
        "watching",
    )

    spec: ChildSpec

    def __init__(self, system: ActorSystem, number: int, spec: ChildSpec, parent: Parent) -> None:
        super().__init__(system, number, spec, parent)
        self.mailbox = Mailbox(spec.mailbox)
        self.phase = Phase.NEW
        self.queued = False  # in the line for a turn, or in one
        self.runner: Runner | None = None  # while in a turn
        self.actor: Actor | None = None
        self.context: Context | None = None
        self.port: Port | None = None  # of the ask that is handled now
        self.doom: ExitReason | None = None  # ends as soon as the interrupted turn is over
        self.reason: ExitReason = NORMAL
        self._up = False  # started() has succeeded
        self._last_done = False  # stopped() has had its chance
        self._ignored = False
        self.children: SupervisorCell | None = None
        self.jobs: set[Job] | None = None
        self.replies: set[Reply] | None = None
        self.timers: set[Timer] | None = None
        self.watching: dict[int, Cell | None] | None = None  # the target, where it lives here

    # ---- as a sender (activity.Activity) 

    @property
    def tell_metadata(self) -> Metadata:
        metadata = NO_METADATA if self.context is None else self.context.metadata
        return metadata if metadata is NO_METADATA else without_chain(metadata)

    @property
    def ask_metadata(self) -> Metadata:
        return with_caller(NO_METADATA if self.context is None else self.context.metadata, self.label)

    # ---- being called 

    def open(self) -> None:
        self._wake()

    def deliver(self, message: Any, port: Port | None, metadata: Metadata) -> None:
        if self.phase > Phase.RUNNING:
            self._refuse(message, port, metadata, "it has ended", ActorGone)
            return
        if port is not None and metadata.call_chain and self.label in metadata.call_chain:
            port.resolve(CallCycle(f"{self} waits, up the call chain {' > '.join(metadata.call_chain)}"))
            return
        if not self.mailbox.offer((message, port, metadata, weigh(message))):
            self._refuse(message, port, metadata, "its mailbox is full", MailboxFull)
        elif not self.queued:
            self.queued = True
            self.system.runners.ready(self)

    def notify(self, down: Down) -> None:
        """Queue a monitor's ``Down``, behind what is in the mailbox already."""
        if self.phase <= Phase.RUNNING:
            self.mailbox.insert(down)
            self._wake()

    def notify_first(self, timer: Timer) -> None:
        """Queue a timer's message, in front of all user messages."""
        if self.phase <= Phase.RUNNING:
            self.mailbox.signal(timer)
            self._wake()

    def stop(self, reason: ExitReason) -> None:
        if self.phase > Phase.RUNNING or self.mailbox.stop is not None:
            if self.phase is not Phase.DEAD:
                self._arm_budget()
            return
        if self.spec.shutdown <= 0 and reason is SHUTDOWN:
            self.kill()
            return
        self.mailbox.stop = reason
        self._arm_budget()
        if self.runner is None:
            self._end(reason)
            self._advance()

    def kill(self) -> None:
        if self.phase is Phase.DEAD or self.mailbox.kill:
            return
        self.mailbox.kill = True
        self._interrupt(KILLED)
        if self.children is not None:
            self.children.kill()

    def _interrupt(self, reason: ExitReason) -> None:
        self.doom = reason
        if self.runner is not None:
            self.runner.interrupt()
        else:
            if self.phase is Phase.LAST:  # its hook has not begun
                self.phase = Phase.ENDING
            self._end(reason)
            self._advance()

    def _wake(self) -> None:
        if not self.queued:
            self.queued = True
            self.system.runners.ready(self)

    # ---- turns 

    async def turn(self, budget: int) -> int:
        """Do what is to be done, at most ``budget`` messages of it, and return how many. Runs in a runner.

        The one guard around an actor's code: an ``Exception`` ends the actor, never the runner.
        """
        handled = 0
        try:
            if self.phase is Phase.NEW:
                await self._begin()
            elif self.phase is Phase.LAST:
                assert self.actor is not None
                await self.actor.stopped(self.reason)
            if self.phase is Phase.RUNNING:
                actor, context, mailbox = self.actor, self.context, self.mailbox
                assert actor is not None
                assert context is not None
                while handled < budget:
                    entry = mailbox.take()
                    if entry.__class__ is not tuple:
                        if entry is not None:
                            self._end(KILLED if entry is Lane.KILL else mailbox.stop or NORMAL)
                        break
                    handled += 1
                    message, port, metadata, weight = entry
                    if port is None:
                        if not weight:
                            message, metadata = self._admit(message)
                            if metadata is None:
                                continue
                        context.metadata = metadata
                        await actor.receive(message)
                        continue
                    if not port.wanted:
                        self.system.dead_letters.count(
                            message, self.address, "its asker gave up first", self.system.clock.now()
                        )
                        continue
                    self.port = port
                    context.metadata = metadata
                    value = await actor.receive(message)
                    if self.port is not None:
                        self.port = None
                        port.resolve(value)
        except StartIgnored as ignored:
            self._failed(ignored, handling=False)
        except Exception as error:  # noqa: BLE001 - the one guard
            self._failed(error, handling=handled > 0)
        return handled

    def settle(self) -> None:
        """A turn is over, or was interrupted: go on, rest, or take the next step towards the end."""
        self.runner = None
        self.queued = False
        if self.phase is Phase.LAST:
            self.phase = Phase.ENDING
            self._last_done = True
        if self.doom is not None:
            self._end(self.doom)
        if self.phase is Phase.RUNNING:
            if self.mailbox.pending:
                self._wake()
        elif self.phase is Phase.ENDING:
            self._advance()

    async def _begin(self) -> None:
        self.context = context = Context(self, NO_METADATA)
        self.actor = actor = self.spec.factory()
        actor.context = context
        await actor.started()
        self._up = True
        self.phase = Phase.RUNNING
        if self.parent is not None:
            self.parent.child_started(self)

    def _admit(self, notice: Any) -> tuple[Any, Metadata | None]:
        """Return the message that a notice stands for; no metadata when it was taken back meanwhile."""
        if isinstance(notice, Timer):
            return notice.message, NO_METADATA if notice.take() else None
        if self.watching is not None and notice.watch in self.watching:
            del self.watching[notice.watch]
            return notice, NO_METADATA
        return notice, None

    def _failed(self, error: Exception, *, handling: bool) -> None:
        if handling and isinstance(error, AskError) and not error.relayed:
            port, self.port = self.port, None
            if port is not None:
                port.resolve(error)
            else:
                log.warning("actor.refused", actor=str(self), error=type(error).__name__, text=str(error))
            return
        failed = Failed.of(error)
        if isinstance(error, StartIgnored) and self.phase is Phase.NEW:
            self._ignored = True
        else:
            log.error("actor.failed", actor=str(self), reason=str(failed), exc_info=error)
        if self.port is not None:
            self.port.resolve(as_ask_error(error))
            self.port = None
        if self.phase is Phase.LAST:
            if self.reason.is_normal:
                self.reason = failed
        elif self.doom is None:
            self._end(failed)

    # ---- the end 

    def _end(self, reason: ExitReason) -> None:
        """Handle no more messages."""
        if self.mailbox.kill:
            self.reason = KILLED
        if self.phase > Phase.RUNNING:
            return
        if not self.mailbox.kill:
            self.reason = reason
        self.phase = Phase.ENDING
        self._arm_budget()
        for message, port, metadata, _ in self.mailbox.clear():
            self._refuse(message, port, metadata, "it has ended", ActorGone)
        if self.timers is not None:
            for timer in list(self.timers):
                timer.cancel()

    def _advance(self) -> None:
        if self.runner is not None or self.phase is not Phase.ENDING:
            return
        if self.jobs:
            for job in self.jobs:
                job.scope.cancel()
        elif self.children is not None and not self.children.dead:
            self._suspend_budget()
            self.children.stop(SHUTDOWN)
        elif self._up and not self._last_done and not self.mailbox.kill and self.spec.shutdown > 0:
            self._resume_budget()
            self.phase = Phase.LAST
            self._wake()
        else:
            self._die()

    def _suspend_budget(self) -> None:
        """The children have budgets of their own."""
        if self._budget is not None and self._budget.armed:
            self.system.deadlines.cancel(self._budget)
            self._kill_at -= self.system.clock.now()  # from now on: what is left of it

    def _resume_budget(self) -> None:
        if self._budget is not None and not self._budget.armed:
            self._budget = Budget(self)
            self._kill_at = self.system.deadlines.add(self._budget, self._kill_at)

    def _die(self) -> None:
        self.phase = Phase.DEAD
        reason = self.reason
        if self.port is not None:
            if isinstance(reason, Failed):
                self.port.resolve(RemoteFailure(reason.type_name, reason.message))
            else:
                self.port.resolve(ActorGone(f"{self} ended while it handled the message: {reason}"))
            self.port = None
        for reply in list(self.replies or ()):
            reply.abandon()
        if self.watching:
            self.system.monitors.unwatch_all(self)
        self.actor = None
        self._finish(reason)
        if self.parent is None:
            return
        if self._up:
            self.parent.child_ended(self, reason)
        else:
            self.parent.child_failed_to_start(self, reason, ignored=self._ignored)

    # ---- what the context offers 

    def reply_later(self) -> Reply:
        port, self.port = self.port, None
        reply = Reply(self, port)
        if port is not None:
            if self.replies is None:
                self.replies = set()
            self.replies.add(reply)
        return reply

    def replied(self, reply: Reply) -> None:
        """A reply that was taken over has been used."""
        if self.replies is not None:
            self.replies.discard(reply)

    def start_job(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str | None) -> None:
        if self.phase > Phase.RUNNING:
            raise ActorGone(f"{self} is ending: it can start no background work")
        metadata = NO_METADATA if self.context is None else self.context.metadata
        answers = self.port is None and bool(self.replies)
        job = Job(self, Background(self, metadata, answers=answers))
        if self.jobs is None:
            self.jobs = set()
        self.jobs.add(job)
        self.system.run_job(job, func, args, name or f"{self}: {getattr(func, '__qualname__', func)}")

    def job_ended(self, job: Job, error: Exception | None) -> None:
        """Background work is over."""
        assert self.jobs is not None
        self.jobs.discard(job)
        if error is not None and self.phase <= Phase.RUNNING and self.doom is None:
            log.error("actor.failed", actor=str(self), reason=str(Failed.of(error)), exc_info=error)
            self._interrupt(Failed.of(error))
        self._advance()

    def start_timer(self, delay: float, message: Any) -> Timer:
        timer = Timer(self, message)
        if self.phase > Phase.RUNNING:
            timer.cancel()
            return timer
        if self.timers is None:
            self.timers = set()
        self.timers.add(timer)
        self.system.deadlines.add(timer, delay)
        return timer

    async def start_child(self, spec: ChildSpec | SupervisorSpec) -> ActorRef:
        if self.phase > Phase.RUNNING:
            raise StartFailed(f"child {spec.id!r}: {self} is ending")
        if self.children is None:
            self.children = self.system.open_supervisor(self)
        return await self.children.start_child(spec)

    async def stop_child(self, child_id: str) -> None:
        if self.children is None:
            raise StartFailed(f"child {child_id!r}: there is no such child")
        await self.children.stop_child(child_id)

    # ---- as the parent of its own supervisor 

    def child_started(self, cell: Cell) -> None:
        """It has no children yet, so this tells nothing."""

    def child_failed_to_start(self, cell: Cell, reason: ExitReason, *, ignored: bool = False) -> None:
        """It has no children to begin with, so this happens only when it is killed before."""
        self._advance()

    def child_ended(self, cell: Cell, reason: ExitReason) -> None:
        if self.phase <= Phase.RUNNING and self.doom is None:
            log.error("actor.failed", actor=str(self), reason=str(reason))
            self._interrupt(reason)
        self._advance()
