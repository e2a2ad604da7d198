"""What a person writes (``Actor``) and what it is given to work with (``Context``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple

from .asking import Reply
from .errors import UnknownMessage
from .exits import NORMAL, ExitReason, MonitorId
from .network import Metadata
from .reference import ActorRef
from .specs import Spec
from .timers import Timer

if TYPE_CHECKING:
    from .actor_cell import ActorCell
    from .system import ActorSystem

Args = TypeVarTuple("Args")


class StartIgnored(Exception):
    """Raised by ``started`` to say that this actor is not needed: it stays down, and that is no failure."""


class Actor:
    """Subclass it. Its hooks and ``receive`` run one at a time, in the actor's own turn.

    A turn may wait: nothing else of this actor runs meanwhile, everything else of the system does. Which
    task runs it is not fixed, so a context variable that a hook sets must be reset before the hook returns.

    Attributes:
        context: Set by the system before ``started``; not to be used in ``__init__``.
    """

    context: Context

    async def started(self) -> None:
        """Get ready; the first message is handled after it.

        Whoever starts the actor waits until this has returned. An exception means that the start failed:
        ``stopped`` is not called, and the supervisor decides. ``StartIgnored`` means that it is not needed.
        """

    async def receive(self, message: Any) -> Any:
        """Handle one message; what it returns (None included) answers an ask and is ignored for a tell.

        An exception fails the actor: the asker gets ``RemoteFailure`` and supervision takes over. The
        exception to that is an ``AskError`` that the handler itself made and raised, as ``raise
        RemoteFailure("NotFound", "…")``: it is the answer, passed on as it is, and the actor lives (for a
        tell it is only logged). An ``AskError`` that an ask of the handler's own raised, and that it lets
        through, is a failure like any other.
        """
        raise UnknownMessage(f"{type(self).__name__} takes no {type(message).__name__}")

    async def stopped(self, reason: ExitReason) -> None:
        """Clean up. The children and the background work have ended, no message comes any more.

        Called once after ``started`` succeeded, whatever the reason, unless the actor is killed; bounded by
        what is left of ``ChildSpec.shutdown``. An exception is logged and becomes the exit reason of an
        actor that ended normally.
        """


class Context:
    """An actor's side of the system, for the actor and its background work, in the loop's thread."""

    __slots__ = ("_cell", "metadata")

    def __init__(self, cell: ActorCell, metadata: Metadata) -> None:
        self._cell = cell
        self.metadata = metadata
        """What travelled with the message that is handled now."""

    @property
    def ref(self) -> ActorRef:
        """This incarnation of this actor."""
        return self._cell.ref

    @property
    def name(self) -> str | None:
        """The name it is registered under."""
        return self._cell.name

    @property
    def system(self) -> ActorSystem:
        """The system that it lives in."""
        return self._cell.system

    def now(self) -> float:
        """Return the time of the monotonic clock, in seconds."""
        return self._cell.system.clock.now()

    def remaining(self) -> float | None:
        """Return the seconds, at least 0, until the deadline of the ask that is handled; None for a tell."""
        port = self._cell.port
        if port is None or not port.when:
            return None
        return max(0.0, port.when - self.now())

    def stop(self, reason: ExitReason = NORMAL) -> None:
        """End the actor after the message that it handles now; what waits in its mailbox is not handled."""
        self._cell.stop(reason)

    def reply_later(self) -> Reply:
        """Take over answering the ask that is handled now; the handler's return value is then ignored.

        For a tell, the reply goes nowhere.
        """
        return self._cell.owned_resources().reply_later()

    def monitor(self, ref: ActorRef) -> MonitorId:
        """Ask for exactly one ``Down(ref, reason)``, through ``receive``, when that actor has ended.

        It comes after every message that was delivered from there before; at once if the actor is gone
        already; with ``NodeDown`` when its node is lost. A ref by name is resolved now, and does not follow
        a restart.
        """
        return self._cell.system.monitors.add(self._cell, ref)

    def demonitor(self, monitor: MonitorId) -> None:
        """Take a monitor back: no ``Down`` of it is received after this, even if one is queued already."""
        self._cell.system.monitors.remove(self._cell, monitor)

    def start_soon(
        self,
        func: Callable[[*Args], Awaitable[Any]],
        *args: *Args,
        name: str | None = None,
    ) -> None:
        """Run background work beside the actor's turns. It is cancelled when the actor ends.

        An exception of it fails the actor, and cancels the message that it handles.

        Raises:
            ActorGone: The actor is ending.
        """
        self._cell.owned_resources().start_job(func, args, name)

    def after(self, delay: float, message: Any) -> Timer:
        """Send a message to this actor in ``delay`` seconds; it is served before waiting user messages.

        It dies with the actor, and is never lost to a full mailbox.
        """
        return self._cell.owned_resources().start_timer(delay, message)

    async def start_child(self, spec: Spec) -> ActorRef:
        """Start a child under this actor's own supervisor (``one_for_one``), and wait until it has started.

        When the actor ends, its children are stopped first, all at once, each within its own budget. A
        child that stays down is forgotten. More than ``ActorSystem.max_restarts`` restarts within
        ``window`` fail the actor.

        If the wait is cancelled, the child is stopped again.

        Raises:
            StartFailed: The child's ``started`` raised, or its id or name is taken. It is not kept.
        """
        return await self._cell.owned_resources().start_child(spec)

    async def stop_child(self, child_id: str) -> None:
        """Stop a child within its budget, wait until it has ended, and forget it.

        Raises:
            StartFailed: There is no such child, or the actor is ending.
        """
        await self._cell.owned_resources().stop_child(child_id)
