"""The life of one actor: from its first turn, through messages, to telling everybody that it has ended.

A cell is driven by calls (deliver, stop, kill, a child or a job has ended) and by turns that a runner gives
it; between those it holds no task. Its end has steps, each begun by ``_advance`` when the one before it is
over: background work, children, the ``stopped`` hook, then ``_die``.
"""

from __future__ import annotations

import traceback
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import structlog

from .activity import with_caller, without_chain
from .actor import Actor, Context, StartIgnored
from .asking import Port, as_ask_error
from .cell import Cell, Parent
from .errors import ActorGone, AskError, CallCycle, MailboxFull, RemoteFailure
from .exits import KILLED, NORMAL, SHUTDOWN, Down, ExitReason, Failed
from .mailbox import Mailbox, Urgent
from .network import NO_METADATA, Metadata
from .owned_resources import OwnedResources
from .specs import ChildSpec, Startable
from .timers import Timer
from .weight import WEIGHERS, weigh

if TYPE_CHECKING:
    from .runners import Runner
    from .system import ActorSystem

log = structlog.get_logger("sllm_actors.actors")

UNBORN: Final = Actor()
"""Stands in for the actor that the factory has not made yet, and for one that has ended."""

FRAMES: Final = 8
"""Innermost frames of a failure's traceback that are logged; the values in them never are."""


class LifePhase(IntEnum):
    """Where an actor is in its life."""

    NEW = 0
    RUNNING = 1
    ENDING = 2  # no message is handled any more; waits for jobs and children
    LAST = 3  # the stopped hook is to run, or runs
    DEAD = 4


class ActorCell(Cell, Parent):
    """One incarnation of one actor."""

    __slots__ = (
        "_doom",
        "_ignored",
        "_last_done",
        "_phase",
        "_queued",
        "_reason",
        "_up",
        "actor",
        "context",
        "mailbox",
        "own",
        "port",
        "runner",
    )

    def __init__(self, system: ActorSystem, number: int, spec: ChildSpec, parent: Parent) -> None:
        super().__init__(system, number, spec, parent)
        self.actor: Startable = UNBORN
        self.context = Context(self, NO_METADATA)
        self.mailbox = Mailbox(spec.mailbox)
        self.port: Port | None = None  # of the ask that is handled now
        self.own: OwnedResources | None = None
        self.runner: Runner | None = None  # while in a turn
        self._phase = LifePhase.NEW
        self._queued = False  # in the line for a turn, or in one
        self._up = False  # started() has succeeded
        self._last_done = False  # stopped() has had its chance
        self._ignored = False  # started() said that it is not needed
        self._doom: ExitReason | None = None  # the reason to end with when the interrupted turn is over
        self._reason: ExitReason = NORMAL

    @property
    def ending(self) -> bool:
        """Whether the actor handles no messages any more."""
        return self._phase > LifePhase.RUNNING

    def owned_resources(self) -> OwnedResources:
        """Return the actor's resources, which the first call makes."""
        if self.own is None:
            self.own = OwnedResources(self)
        return self.own

    # ---- as a sender (activity.Activity)

    @property
    def tell_metadata(self) -> Metadata:
        return without_chain(self.context.metadata)

    @property
    def ask_metadata(self) -> Metadata:
        return with_caller(self.context.metadata, self.label)

    # ---- being called

    def open(self) -> None:
        self._wake()

    def deliver(self, message: Any, port: Port | None, metadata: Metadata, /) -> None:
        if port is not None and metadata.call_chain and self.label in metadata.call_chain and not self.ending:
            port.resolve(CallCycle(f"{self} waits, up the call chain {' > '.join(metadata.call_chain)}"))
            return
        try:
            weight = WEIGHERS[message.__class__](message)
        except (KeyError, TypeError):  # the first of its class, or something else than its fields declare
            weight = weigh(message)
        # Mailbox.offer, spelled out: a call less here is felt in every message.
        mailbox = self.mailbox
        messages = mailbox.messages
        total = mailbox.weight + weight
        if total <= mailbox.most_bytes and len(messages) < mailbox.room:
            mailbox.weight = total
            messages.append((message, port, metadata, weight))
            if not self._queued:
                self._queued = True
                self.system.runners.ready(self)
        elif self.ending:
            self.refuse(message, port, "it has ended", ActorGone)
        else:
            for refused, asker, _, _ in mailbox.overflow((message, port, metadata, weight)):
                self.refuse(refused, asker, "its mailbox is full", MailboxFull)

    def notify(self, down: Down) -> None:
        """Queue a monitor's ``Down``, behind what is in the mailbox already."""
        if not self.ending:
            self.mailbox.insert(down)
            self._wake()

    def notify_first(self, timer: Timer) -> None:
        """Queue a timer's message, in front of all user messages."""
        self.mailbox.signal(timer)
        self._wake()

    def stop(self, reason: ExitReason) -> None:
        if self.ending or self.mailbox.stop is not None:
            if self._phase is not LifePhase.DEAD:
                self._arm_budget()
            return
        if self.spec.shutdown <= 0 and reason is SHUTDOWN:
            self.kill()
            return
        self.mailbox.order_stop(reason)
        self._arm_budget()
        if self.runner is None:
            self._end(reason)
            self._advance()

    def kill(self) -> None:
        if self._phase is LifePhase.DEAD or self.mailbox.kill:
            return
        self.mailbox.order_kill()
        if self.own is not None and self.own.children is not None:
            self.own.children.kill()
        self._interrupt(KILLED)

    def _interrupt(self, reason: ExitReason) -> None:
        """End without waiting for the turn that runs, if one does."""
        self._doom = reason
        if self.runner is not None:
            self.runner.interrupt()
            return
        if self._phase is LifePhase.LAST:  # its hook has not begun
            self._phase = LifePhase.ENDING
        self._end(reason)
        self._advance()

    def _wake(self) -> None:
        if not self._queued:
            self._queued = True
            self.system.runners.ready(self)

    # ---- turns

    async def turn(self, budget: int) -> int:
        """Run the hook that is due, or handle up to ``budget`` messages; return how many. Runs in a runner.

        Here an actor's exceptions are caught: an ``Exception`` ends the actor, never the runner. A
        cancellation, also one in a group with exceptions, is raised to the runner.
        """
        handled = 0
        try:
            if self._phase is not LifePhase.RUNNING and not await self._run_hook():
                return 1
            receive, context, mailbox = self.actor.receive, self.context, self.mailbox
            messages = mailbox.messages
            for handled in range(1, budget + 1):
                if mailbox.urgent or not messages:
                    entry = mailbox.take()
                    if entry.__class__ is not tuple:
                        if entry is not None:
                            self._end(KILLED if entry is Urgent.KILL else mailbox.stop or NORMAL)
                        return handled - 1
                    message, port, metadata, weight = entry
                else:  # mailbox.take, spelled out
                    message, port, metadata, weight = messages.popleft()
                    if weight:
                        mailbox.weight -= weight
                    else:
                        mailbox.took_notice()
                if port is None:
                    if not weight:
                        message, metadata = self._admit(message)
                        if metadata is None:
                            continue
                    context.metadata = metadata
                    await receive(message)
                    continue
                if not port.wanted:
                    self.refuse(message, None, "its asker gave up first", ActorGone)
                    continue
                self.port = port
                context.metadata = metadata
                value = await receive(message)
                if self.port is not None:
                    self.port = None
                    port.resolve(value)
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error, handling=handled > 0)
        except BaseExceptionGroup as group:  # a task group that was cancelled, and whose clean-up has failed
            failure, cancellation = group.split(Exception)
            if failure is not None:
                self._failed(failure, handling=handled > 0)
            if cancellation is not None:
                raise cancellation from None
        return handled

    def settle(self) -> bool:
        """A turn is over, or was interrupted: rest, or take the next step towards the end.

        Returns:
            Whether the actor has more to do at once: the runner then gives it another turn.
        """
        self.runner = None
        if self._phase is LifePhase.LAST:
            self._phase = LifePhase.ENDING
            self._last_done = True
        if self._doom is not None:
            self._end(self._doom)
        if self._phase is LifePhase.RUNNING and self.mailbox.pending:
            return True
        self._queued = False
        if self._phase is LifePhase.ENDING:
            self._advance()
        return False

    async def _run_hook(self) -> bool:
        """Run the hook that the phase asks for, if any; True when messages may be handled after it."""
        if self._phase is LifePhase.LAST:
            await self.actor.stopped(self._reason)
        elif self._phase is LifePhase.NEW:
            self.actor = actor = self.spec.factory()  # type: ignore[union-attr]
            actor.context = self.context
            await actor.started()
            self._up = True
            self._phase = LifePhase.RUNNING
            self.parent.child_started(self)
            return True
        return False

    def _admit(self, notice: Any) -> tuple[Any, Metadata | None]:
        """Return the message that a notice stands for; no metadata when it was taken back meanwhile."""
        if isinstance(notice, Timer):
            return notice.message, NO_METADATA if notice.take() else None
        if self.own is not None and notice.watch in self.own.watching:
            del self.own.watching[notice.watch]
            return notice, NO_METADATA
        return notice, None

    def _failed(self, error: Exception, *, handling: bool) -> None:
        port, self.port = self.port, None
        if handling and isinstance(error, AskError) and error.relayed_to != self.label:
            if port is not None:
                port.resolve(error)
            else:
                log.warning("actor.refused", actor=str(self), error=type(error).__name__, text=str(error))
            return
        if isinstance(error, StartIgnored) and not self._up:
            self._ignored = True
        else:
            self._log_failure(error)
        if port is not None:
            port.resolve(as_ask_error(error, self.label))
        if self._phase is not LifePhase.LAST:
            self._end(self._doom or Failed.of(error))  # the interruption, if there was one, came first
        elif self._reason.is_normal:
            self._reason = Failed.of(error)

    def _log_failure(self, error: Exception) -> None:
        frames = "".join(traceback.format_tb(error.__traceback__, limit=-FRAMES))
        log.error("actor.failed", actor=str(self), reason=str(Failed.of(error)), frames=frames)

    # ---- the end

    def _end(self, reason: ExitReason) -> None:
        """Begin to end for this reason (a kill overrides it): handle no more messages."""
        if self.mailbox.kill:
            reason = self._reason = KILLED
        if self.ending:
            return
        self._reason = reason
        self._phase = LifePhase.ENDING
        self._arm_budget()
        for message, port, _, _ in self.mailbox.close():
            self.refuse(message, port, "it has ended", ActorGone)
        if self.own is not None:
            self.own.cancel_timers()

    def _advance(self) -> None:
        """Take the next step towards the end, unless something is still to be waited for."""
        if self.runner is not None or self._phase is not LifePhase.ENDING:
            return
        own = self.own
        if own is not None and own.cancel_jobs():
            return
        if own is not None and own.children is not None and not own.children.dead:
            self._suspend_budget()
            own.children.stop(SHUTDOWN)
        elif self._up and not self._last_done and not self.mailbox.kill and self.spec.shutdown > 0:
            self._resume_budget()
            self._phase = LifePhase.LAST
            self._wake()
        else:
            self._die()

    def _die(self) -> None:
        self._phase = LifePhase.DEAD
        reason = self._reason
        if self.port is not None:  # the turn that handled it was interrupted
            if isinstance(reason, Failed):
                self.port.resolve(RemoteFailure(reason.type_name, reason.message))
            else:
                self.port.resolve(ActorGone(f"{self} ended while it handled the message: {reason}"))
            self.port = None
        if self.own is not None:
            self.own.settle()
        self.actor = UNBORN
        self._finish(reason)
        if self._up:
            self.parent.child_ended(self, reason)
        else:
            self.parent.child_not_started(self, reason, self._ignored)

    def job_ended(self, error: Exception | None) -> None:
        """Background work is over; ``error`` is what it raised."""
        if error is not None:
            self._log_failure(error)
            if not self.ending and self._doom is None:
                self._interrupt(Failed.of(error))
        self._advance()

    # ---- as the parent of its own supervisor (cell.Parent)

    def child_started(self, _cell: Cell, /) -> None:
        """The actor's own supervisor is up. It has no children yet: nothing is to be done."""

    def child_not_started(self, cell: Cell, reason: ExitReason, _ignored: bool, /) -> None:
        self.child_ended(cell, reason)

    def child_ended(self, _cell: Cell, reason: ExitReason, /) -> None:
        """The actor's own supervisor gave up, or has stopped because the actor ends."""
        if not self.ending and self._doom is None:
            log.error("actor.failed", actor=str(self), reason=str(reason))
            self._interrupt(reason)
        self._advance()
