"""The seam between the actor system and whatever carries its messages to other nodes.

The system depends on ``Network``; a transport implements it and calls the system's ``Inbound`` side. All
methods on both sides are synchronous, never block and never raise for a remote reason: they only enqueue.
Both sides run in the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import field, frozen

from .errors import AskError
from .identity import Address, Incarnation, NodeId


@frozen
class Metadata:
    """What travels beside a message. Extensible: unknown fields are ignored, new ones have defaults.

    Attributes:
        request_id: The id of the user's request that caused this message, for logs and traces.
        call_chain: The actors (as ``node/number``) that wait, outermost first, for this ask to be answered.
        extra: Anything a later version adds; small, string to string.
    """

    request_id: str = ""
    call_chain: tuple[str, ...] = ()
    extra: dict[str, str] = field(factory=dict)


NO_METADATA = Metadata()


@frozen
class Envelope:
    """One message on its way to one actor.

    Attributes:
        target: The receiver.
        sender: The actor that sent it, where one did (FIFO is promised per sender and receiver).
        message: A registered message, as an object; the transport turns it into bytes and back.
        remaining: Seconds until the asker's deadline at the time of sending, or None for a tell.
        metadata: What travels beside the message.
    """

    target: Address
    message: Any
    sender: Address | None = None
    remaining: float | None = None
    metadata: Metadata = NO_METADATA


Outcome = Any | AskError
"""The result of an ask: the reply (a message or None), or an ``AskError`` instance."""

ReplyTo = Callable[[Outcome], None]
"""Called exactly once with the outcome of an ask, in the loop's thread; never raises."""


class Network(Protocol):
    """What the actor system asks of a transport."""

    def tell(self, envelope: Envelope) -> None:
        """Send at most once. What cannot be sent is counted as a dead letter by the implementation
        through ``Inbound.dead_letter``."""

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        """Send, and call ``reply_to`` with the reply or with the error that ended the hope for one.

        The deadline belongs to the caller. Returns a function that forgets the ask (deadline passed, caller
        cancelled): it touches nothing on the wire, and a reply that still comes is dropped and counted.
        """

    def monitor(self, target: Address, watch: int) -> None:
        """Ask the target's node to send one down signal for ``watch`` (a number chosen by this system)."""

    def demonitor(self, target: Address, watch: int) -> None:
        """Take a ``monitor`` back. A down signal that is already under way is dropped by the system."""

    def down(self, peer: NodeId, watch: int, reason: str) -> None:
        """Tell the peer that the actor which it monitors under ``watch`` is down. Ordered after every
        message sent to that peer before."""


class Inbound(Protocol):
    """What a transport reports to the actor system; implemented by ``ActorSystem``."""

    def on_envelope(self, peer: NodeId, envelope: Envelope, reply_to: ReplyTo | None) -> None:
        """A message arrived; ``reply_to`` is set for an ask and must be called exactly once, or dropped
        together with the peer."""

    def on_monitor(self, peer: NodeId, target: Address, watch: int) -> None:
        """The peer wants to know when the target is down (at once, if it is already)."""

    def on_demonitor(self, peer: NodeId, target: Address, watch: int) -> None:
        """The peer takes the ``on_monitor`` of this number back."""

    def on_down(self, peer: NodeId, watch: int, reason: str) -> None:
        """The actor that this system monitors at ``peer`` under ``watch`` is down."""

    def on_peer_down(self, peer: NodeId, incarnation: Incarnation, reason: str) -> None:
        """This life of the peer is over for good: each monitor of an actor there gets its one ``Down``."""

    def dead_letter(self, envelope: Envelope, reason: str) -> None:
        """Count (and sample into the log) a message that reaches nobody."""
