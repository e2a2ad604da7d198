"""The one way to reach an actor: the same for local and remote, by number or by name."""

from __future__ import annotations

import math
from typing import Any, Protocol

from .activity import Activity, get_current
from .asking import Ask, AskHost, Port
from .errors import AskTimeout
from .exits import ExitReason
from .identity import Address, Incarnation, NodeId
from .network import NO_METADATA, Metadata


class Receiver(Protocol):
    """An actor of this process, as a ref holds it."""

    def deliver(self, message: Any, port: Port | None, metadata: Metadata, /) -> None:
        """Take a message, or refuse it to whoever asked."""

    def stop(self, reason: ExitReason, /) -> None:
        """End in good order."""

    def kill(self) -> None:
        """End now, without the ``stopped`` hook."""


class RefHost(AskHost, Protocol):
    """What a ref needs of its system: the way to names, and to actors of other nodes."""

    @property
    def incarnation(self) -> Incarnation:
        """This life of the node."""

    def send(self, ref: ActorRef, message: Any, activity: Activity | None) -> None:
        """Send a tell."""

    def send_ask(
        self, ref: ActorRef, message: Any, ask: Ask, timeout: float, activity: Activity | None
    ) -> None:
        """Send an ask, whose outcome comes through ``ask``."""


class ActorRef:
    """Points at one incarnation of an actor, or at whoever goes by a name when a message is sent.

    Refs are values: hashable, and equal when they point at the same address. Made by an ``ActorSystem`` only.
    """

    __slots__ = ("_incarnation", "_key", "_node", "_system", "cell")

    def __init__(
        self,
        system: RefHost,
        node: NodeId,
        key: int | str,
        incarnation: Incarnation | None = None,
        cell: Receiver | None = None,
    ) -> None:
        self._system = system
        self._node = node
        self._key = key
        self._incarnation = incarnation
        # None for a name, for an actor of another node, and for one that had ended when the ref was made.
        self.cell = cell

    @property
    def address(self) -> Address:
        """The address that the ref points at; that of a local actor has the node's present incarnation."""
        incarnation = self._incarnation if self.cell is None else self._system.incarnation
        return Address(self._node, incarnation, self._key)

    def tell(self, message: Any) -> None:
        """Send a message, at most once, and never wait.

        Messages of one sender to one ref arrive in the order in which they were sent. A message that cannot
        be delivered (receiver gone, mailbox full, node down) is a dead letter: counted, sampled into the
        log, never raised.
        """
        activity = get_current()
        cell = self.cell
        if cell is not None:
            cell.deliver(message, None, NO_METADATA if activity is None else activity.tell_metadata)
        else:
            self._system.send(self, message, activity)

    async def ask(self, message: Any, *, timeout: float) -> Any:
        """Send a message and wait for its answer.

        Exactly one of: the reply, or one ``AskError`` by the deadline. The error may mean "done, but you
        will never know". If the wait is cancelled, the message may or may not be handled; a receiver that
        has not begun with it skips it. Nothing is ever sent twice.

        Args:
            message: What to send.
            timeout: Seconds, finite. Without time left (zero or less) nothing is sent.

        Raises:
            AskTimeout: No answer by the deadline.
            ActorGone: The receiver ended before it answered, or nobody goes by that name.
            PeerDown: The receiver's node, or the way to it, was lost.
            MailboxFull: Rejected; the receiver never saw it.
            CallCycle: The receiver waits, up the call chain, for the sender; it never saw it.
            RemoteFailure: The receiver's handler raised.
            ValueError: The timeout is not a finite number.
        """
        if not math.isfinite(timeout):
            raise ValueError(f"the timeout of an ask must be a finite number of seconds, not {timeout}")
        if timeout <= 0:
            raise AskTimeout("no time was left, nothing was sent")
        activity = get_current()
        ask = Ask(self._system, timeout)
        cell = self.cell
        if cell is not None:
            cell.deliver(message, ask, NO_METADATA if activity is None else activity.ask_metadata)
        else:
            self._system.send_ask(self, message, ask, timeout, activity)
        return await ask.wait()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorRef):
            return NotImplemented
        if self.cell is not None and self.cell is other.cell:
            return True
        return (
            self._key == other._key
            and self.address == other.address  # of an actor that has ended, one ref may hold no cell
            and self._system is other._system
        )

    def __hash__(self) -> int:
        return hash((self._node, self._key))

    def __repr__(self) -> str:
        return f"<ActorRef {self._node}/{self._key}>"
