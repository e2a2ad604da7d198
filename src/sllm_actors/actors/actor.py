"""``Actor``, the class to subclass, and ``Context``, through which an actor uses its system."""

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
    """Raised by ``started`` to say that the actor is not needed: it stays down, and that is no failure."""


class Actor:
    """Subclass it. Its hooks and ``receive`` run one at a time, in the actor's own turn.

    A turn may wait: nothing else of this actor runs meanwhile, everything else of the system does. Which
    task runs it is not fixed, so a context variable that a hook sets must be reset before the hook returns.

    Attributes:
        context: Set by the system before ``started``; not to be used in ``__init__``.
    """

    context: Context

    async def started(self) -> None:
        """Get ready; the first message is handled after this.

        Whoever starts the actor waits until this has returned. An exception means that the start failed:
        ``stopped`` is not called, and the supervisor decides. ``StartIgnored`` means that the actor is not
        needed.
        """

    async def receive(self, message: Any) -> Any:
        """Handle one message. The return value (None included) answers an ask, and is ignored for a tell.

        An exception fails the actor: the asker gets ``RemoteFailure`` and supervision takes over. But an
        ``AskError`` that the handler itself made and raised, as ``raise RemoteFailure("NotFound", "…")``, is
        an answer: it is passed on as it is, and the actor lives (for a tell it is only logged). An
        ``AskError`` that an ask of the handler raised, and that the handler lets through, is a failure like
        any other.
        """
        raise UnknownMessage(f"{type(self).__name__} takes no {type(message).__name__}")

    async def stopped(self, reason: ExitReason) -> None:
        """Clean up. The children and the background work have ended, and no message comes any more.

        Called once if ``started`` succeeded, whatever the reason, unless the actor is killed. An actor whose
        hook takes longer than what is left of ``ChildSpec.shutdown`` is killed. An exception is logged, and
        becomes the exit reason of an actor that ended normally.
        """


class Context:
    """What an actor can ask of its system. For the actor and its background work, in the loop's thread."""

    __slots__ = ("_cell", "metadata")

    def __init__(self, cell: ActorCell, metadata: Metadata) -> None:
        self._cell = cell
        self.metadata = metadata
        """The metadata of the message that is handled now."""

    @property
    def ref(self) -> ActorRef:
        """A ref to this incarnation of the actor."""
        return self._cell.ref

    @property
    def name(self) -> str | None:
        """The name that the actor is registered under, or None."""
        return self._cell.name

    @property
    def system(self) -> ActorSystem:
        """The system that the actor lives in."""
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
        """End the actor after the message that it handles now. What waits in its mailbox is not handled."""
        self._cell.stop(reason)

    def reply_later(self) -> Reply:
        """Take over answering the ask that is handled now; the handler's return value is then ignored.

        For a tell, what is sent through the ``Reply`` goes nowhere.
        """
        return self._cell.owned_resources().reply_later()

    def monitor(self, ref: ActorRef) -> MonitorId:
        """Ask for exactly one ``Down(ref, reason)``, through ``receive``, when that actor has ended.

        The ``Down`` comes after every message of that actor that was delivered before. It comes at once if
        the actor is gone already, and with ``NodeDown`` when its node is lost. A ref by name is resolved now,
        and does not follow a restart.
        """
        return self._cell.system.monitors.add(self._cell, ref)

    def demonitor(self, monitor: MonitorId) -> None:
        """End a monitor: its ``Down`` is not received after this, even if it is queued already."""
        self._cell.system.monitors.remove(self._cell, monitor)

    def start_soon(
        self,
        func: Callable[[*Args], Awaitable[Any]],
        *args: *Args,
        name: str | None = None,
    ) -> None:
        """Run background work beside the actor's turns. The work is cancelled when the actor ends.

        An exception of the work fails the actor, and cancels the handling of a message that is under way.

        Args:
            func: The work, an async function.
            args: Its arguments.
            name: The name of the task, for debuggers; None for one made of the actor and the function.

        Raises:
            ActorGone: The actor is ending.
        """
        self._cell.owned_resources().start_job(func, args, name)

    def after(self, delay: float, message: Any) -> Timer:
        """Send a message to this actor in ``delay`` seconds; it is handled before user messages that wait.

        The timer ends with the actor. Its message is never lost to a full mailbox.
        """
        return self._cell.owned_resources().start_timer(delay, message)

    async def start_child(self, spec: Spec) -> ActorRef:
        """Start a child under this actor's own supervisor (``one_for_one``), and wait until it has started.

        When the actor ends, its children are stopped first, all at once, each within its own
        ``ChildSpec.shutdown``. A child that stays down is forgotten. More than the system's ``max_restarts``
        restarts within ``window`` seconds fail the actor.

        If the wait is cancelled, the child is stopped again.

        Raises:
            StartFailed: The child's ``started`` raised (``StartIgnored``, too), its id or name is taken, or
                the actor is ending. The child is not kept.
        """
        return await self._cell.owned_resources().start_child(spec)

    async def stop_child(self, child_id: str) -> None:
        """Stop a child within its ``ChildSpec.shutdown``, wait until it has ended, and forget it.

        Raises:
            StartFailed: There is no such child, or the actor is ending.
        """
        await self._cell.owned_resources().stop_child(child_id)
