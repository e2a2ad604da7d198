"""The shell around ``supervision.step``: makes the children that the core wants, and tells it what they do.

A supervisor has a ref like an actor, but no task and no turn: everything that happens to it is a call,
handled at once (or right after the one that is being handled). It takes the messages of ``children``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from . import effects as fx
from .asking import Port
from .cell import Cell, Parent
from .children import (
    ChildCounts,
    ChildState,
    CountChildren,
    DeleteChild,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from .deadlines import Deadline
from .errors import ActorGone, RemoteFailure, StartFailed, UnknownMessage
from .exits import SHUTDOWN, ExitReason, Failed
from .network import Metadata
from .reference import ActorRef
from .specs import Spec, SupervisorSpec
from .supervision import step
from .supervision_state import ChildPhase, Supervision

if TYPE_CHECKING:
    from .system import ActorSystem

log = structlog.get_logger("sllm_actors.actors")


class Waiter:
    """A task of this process that waits for a child to be up or down."""

    __slots__ = ("error", "event", "ref")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.ref: ActorRef | None = None
        self.error: str | None = None

    def answer(self, ref: ActorRef | None, error: str | None) -> None:
        self.ref = ref
        self.error = error
        self.event.set()

    async def wait(self) -> ActorRef | None:
        await self.event.wait()
        if self.error is not None:
            raise StartFailed(self.error)
        return self.ref


class Asker:
    """Somebody who asked the supervisor by a message."""

    __slots__ = ("_port",)

    def __init__(self, port: Port) -> None:
        self._port = port

    def answer(self, ref: ActorRef | None, error: str | None) -> None:
        self._port.resolve(ref if error is None else RemoteFailure("StartFailed", error))


class Delay(Deadline):
    """A back-off that runs."""

    __slots__ = ("_event", "_supervisor")

    def __init__(self, supervisor: SupervisorCell, event: fx.BackoffOver) -> None:
        super().__init__()
        self._supervisor = supervisor
        self._event = event

    def fire(self) -> None:
        self._supervisor.backoff_over(self._event)


class SupervisorCell(Cell, Parent):
    """One incarnation of one supervisor."""

    __slots__ = ("_busy", "_cells", "_delays", "_events", "state")

    def __init__(
        self, system: ActorSystem, number: int, spec: SupervisorSpec, parent: Parent, *, dynamic: bool = False
    ) -> None:
        super().__init__(system, number, spec, parent)
        self.state = Supervision.of(spec, system.rng, dynamic=dynamic)
        self._cells: dict[str, Cell] = {}
        self._delays: dict[str, Delay] = {}
        self._events: deque[fx.Event] = deque()
        self._busy = False

    def post(self, event: fx.Event) -> None:
        """Handle an event, or line it up behind the one that is being handled."""
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        restarts = self.state.total_restarts
        try:
            while self._events:
                now = self.system.clock.now()
                for effect in step(self.state, self._events.popleft(), now):
                    self._perform(effect)
        finally:
            self._busy = False
            self.system.restarts += self.state.total_restarts - restarts

    # ---- being called

    def open(self) -> None:
        self.post(fx.Begin())

    def stop(self, reason: ExitReason) -> None:
        if self.dead:
            return
        if self.spec.shutdown <= 0:
            self.kill()
            return
        self._arm_budget()
        self.post(fx.Stop(reason))

    def kill(self) -> None:
        if not self.dead:
            self.post(fx.Kill())

    def deliver(self, message: Any, port: Port | None, _metadata: Metadata, /) -> None:
        if self.dead:
            self.refuse(message, port, "it has ended", ActorGone)
            return
        token = None if port is None else Asker(port)
        match message:
            case StartChild():
                self.post(fx.Add(message.spec, token))
            case TerminateChild():
                self.post(fx.Terminate(message.id, token=token))
            case RestartChild():
                self.post(fx.Revive(message.id, token))
            case DeleteChild():
                self.post(fx.Delete(message.id, token))
            case WhichChildren() if port is not None:
                port.resolve(self.which_children())
            case CountChildren() if port is not None:
                port.resolve(self.count_children())
            case _:
                if port is not None:
                    port.resolve(UnknownMessage(f"a supervisor takes no {type(message).__name__}"))
                else:
                    self.system.dead_letters.count(
                        message, self.address, "a supervisor takes no such message", self.system.clock.now()
                    )

    async def start_child(self, spec: Spec) -> ActorRef:
        """Start a child and wait until it is up; a cancelled wait stops it again.

        Raises:
            StartFailed: The child did not start, or is not needed. It is not kept.
        """
        waiter = Waiter()
        self.post(fx.Add(spec, waiter))
        try:
            ref = await waiter.wait()
        finally:
            if not waiter.event.is_set():
                self.post(fx.Terminate(spec.id, forget=True))
        if ref is None:
            raise StartFailed(f"child {spec.id!r} said that it is not needed")
        return ref

    async def stop_child(self, child_id: str) -> None:
        """Stop a child, wait until it has ended, and forget it.

        Raises:
            StartFailed: There is no such child, or the supervisor is stopping.
        """
        waiter = Waiter()
        self.post(fx.Terminate(child_id, forget=True, token=waiter))
        await waiter.wait()

    def which_children(self) -> tuple[ChildState, ...]:
        """Return the children as they are now, in start order."""
        return tuple(
            ChildState(key, child.phase, self._cells[key].ref if key in self._cells else None, child.spec)
            for key, child in self.state.children.items()
        )

    def count_children(self) -> ChildCounts:
        """Return how many children there are, by kind."""
        children = self.state.children.values()
        supervisors = sum(isinstance(child.spec, SupervisorSpec) for child in children)
        return ChildCounts(
            specs=len(children),
            active=sum(child.phase not in (ChildPhase.DOWN, ChildPhase.WAITING) for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    # ---- what children report (cell.Parent)

    def child_started(self, cell: Cell, /) -> None:
        self.post(fx.Started(cell.spec.id))

    def child_not_started(self, cell: Cell, reason: ExitReason, ignored: bool, /) -> None:
        self._cells.pop(cell.spec.id, None)
        self.post(fx.NotStarted(cell.spec.id, reason, ignored))

    def child_ended(self, cell: Cell, reason: ExitReason, /) -> None:
        self._cells.pop(cell.spec.id, None)
        self.post(fx.Exited(cell.spec.id, reason))

    def backoff_over(self, event: fx.BackoffOver) -> None:
        """A back-off has run out."""
        del self._delays[event.id]
        self.post(event)

    # ---- what the core wants

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.DoStart():
                self._start(effect.spec)
            case fx.DoStop():
                cell = self._cells.get(effect.id)
                if cell is not None:  # else its end is among the events that wait
                    cell.stop(SHUTDOWN)
            case fx.DoKill():
                cell = self._cells.get(effect.id)
                if cell is not None:
                    cell.kill()
            case fx.Wait():
                self._wait(effect)
            case fx.WaitNoMore():
                self.system.deadlines.cancel(self._delays.pop(effect.id))
            case fx.Answer():
                self._answer(effect)
            case fx.Opened():
                self.parent.child_started(self)
            case fx.End():
                self._end(effect)

    def _wait(self, wait: fx.Wait) -> None:
        log.info("child.restarts_later", supervisor=str(self), child=wait.id, delay=round(wait.delay, 3))
        delay = self._delays[wait.id] = Delay(self, fx.BackoffOver(wait.id, wait.ticket))
        self.system.deadlines.add(delay, wait.delay)

    def _answer(self, answer: fx.Answer) -> None:
        if answer.token is not None:
            cell = self._cells.get(answer.id)
            answer.token.answer(None if cell is None else cell.ref, answer.error)

    def _start(self, spec: Spec) -> None:
        if spec.name is not None and self.system.whereis(spec.name) is not None:
            taken = Failed("NameTaken", f"the name {spec.name!r} is taken")
            self.post(fx.NotStarted(spec.id, taken))
            return
        cell = self.system.make_cell(spec, self)
        self._cells[spec.id] = cell
        cell.open()

    def _end(self, end: fx.End) -> None:
        if not end.reason.is_normal:
            log.error("supervisor.ended", supervisor=str(self), reason=str(end.reason))
        self._finish(end.reason)
        if end.opened:
            self.parent.child_ended(self, end.reason)
        else:
            self.parent.child_not_started(self, end.reason, False)
