"""The data lane of a link: user messages, asks and their outcomes, under the window.

Nothing here is sent twice. When the lane is lost, its asks fail at once and what was queued is a dead letter.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import structlog
from anyio.abc import ByteStream
from attrs import define

from sllm_actors.actors.errors import AskError, MailboxFull, PeerDown, RemoteFailure
from sllm_actors.actors.identity import Address
from sllm_actors.actors.network import Envelope, Inbound, Outcome, ReplyTo

from .assembly import Assembler
from .connection import Connection
from .envelope import BadEnvelope, EnvelopeCoder, NotAllowed, decode_failure, encode_failure
from .errors import RemoteProtocolError
from .frame import ASK, FAILURE, HEADER_SIZE, IGNORABLE, PART, REPLY, TELL, WINDOW, Body, Frame, encode
from .hello import Hello
from .outbox import Outbox
from .peer import Peer
from .settings import TransportSettings

log = structlog.get_logger("sllm_actors.transport")

BACKLOG = 16
"""Window reports are left out while so many frames wait for the socket."""

_ID: Final = struct.Struct("!Q")
_COUNT: Final = struct.Struct("!I")


@define
class LaneCounts:
    """What went over the data lanes of a link.

    Attributes:
        sent: Messages, asks and outcomes queued for the peer.
        received: Messages, asks and outcomes that came from the peer.
        late: Outcomes for which nobody waited any more: of asks here, and of asks of the peer on a lane
            that is closed.
        not_allowed: Messages that came and are not taken from that peer, by its role or its node id.
    """

    sent: int = 0
    received: int = 0
    late: int = 0
    not_allowed: int = 0


class DataLane:
    """One data connection.

    Args:
        stream: Owned by the lane's connection.
        rest: Bytes that came behind the handshake.
        peer: The node at the other end.
        hello: What the peer said in the handshake: its window, and the longest message that it takes.
        epoch: A number higher than that of the lane before it.
        coder: Writes and reads envelopes.
        inbound: The actor system.
        settings: Bounds of this node.
        counts: The counts of the link, which its lanes share.
        progressed: Called when what one read has brought is handled.

    Attributes:
        epoch: See above.
        connection: The connection, which is to be run by a task of the link.
        delivered: How many messages have been handed to the actor system (or answered for it).
    """

    def __init__(
        self,
        stream: ByteStream,
        rest: bytes,
        *,
        peer: Peer,
        hello: Hello,
        epoch: int,
        coder: EnvelopeCoder,
        inbound: Inbound,
        settings: TransportSettings,
        counts: LaneCounts,
        progressed: Callable[[DataLane], None],
    ) -> None:
        self.epoch = epoch
        self.delivered = 0
        self.outbox = Outbox(settings, hello.window)
        self.connection = Connection(stream, rest, self._on_frames, self.outbox.take)
        self._peer = peer
        self._coder = coder
        self._inbound = inbound
        self._counts = counts
        self._progressed = progressed
        self._max_message = min(settings.max_message, hello.max_message)
        self._assembler = Assembler(settings.max_message)
        self._report_after = settings.window // 4
        self._consumed = 0
        self._asks: dict[int, ReplyTo] = {}
        self._next_ask = 0

    @property
    def waiting(self) -> int:
        """How many asks wait for their outcome."""
        return len(self._asks)

    def tell(self, envelope: Envelope) -> None:
        """Queue a message, or count it as a dead letter."""
        try:
            body = self._coder.encode(envelope)
            self._put(envelope.target.key, TELL, body, origin=envelope)
        except AskError as error:
            self._inbound.dead_letter(envelope, str(error))

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        """Queue a message whose outcome ``reply_to`` gets; return a function that forgets the ask."""
        self._next_ask = number = self._next_ask + 1
        try:
            self._put(envelope.target.key, ASK, self._coder.encode(envelope), head=_ID.pack(number))
        except AskError as error:
            reply_to(error)
            return _nothing
        self._asks[number] = reply_to
        return lambda: self._forget(number)

    def lost(self, reason: str) -> list[Any]:
        """Fail every ask, and count what never left as dead letters: the lane is lost.

        Returns:
            The tags of the fences that were still waiting (see ``Outbox.fence``).
        """
        tags, left = self.outbox.abandon()
        asks, self._asks = self._asks, {}
        for envelope in left:
            self._inbound.dead_letter(envelope, f"the lane was lost: {reason}")
        for reply_to in asks.values():
            reply_to(PeerDown(self._peer.node, reason))
        return tags

    def reply(self, number: int, receiver: Address | None, outcome: Outcome) -> None:
        """Send the outcome of an ask that came over this lane."""
        if self.connection.closed:
            self._counts.late += 1
            return
        key, head = receiver.key if receiver is not None else None, _ID.pack(number)
        try:
            if isinstance(outcome, AskError):
                self._put(key, FAILURE, encode_failure(outcome), head=head)
            else:
                self._put(key, REPLY, self._coder.encode_reply(outcome), head=head)
        except AskError as error:
            # The message was handled: the asker must not be told MailboxFull, which promises that it was not.
            full = isinstance(error, MailboxFull)
            told = RemoteFailure("ReplyLost", f"the message was handled, but {error}") if full else error
            # A failure is small: if even that does not fit, the asker's deadline has to do.
            self.outbox.put(key, FAILURE, encode_failure(told), head=head)
            self.connection.wake()

    def _put(
        self,
        receiver: int | str | None,
        kind: int,
        body: bytes,
        *,
        head: bytes = b"",
        origin: Envelope | None = None,
    ) -> None:
        size = len(head) + len(body)
        if size > self._max_message:
            raise RemoteFailure("MessageTooLarge", f"{size} bytes, {self._max_message} are allowed")
        if not self.outbox.put(receiver, kind, body, origin, head=head):
            raise MailboxFull(f"the way to {self._peer.node} is full")
        self._counts.sent += 1
        self.connection.wake()

    def _forget(self, number: int) -> None:
        self._asks.pop(number, None)

    def _on_frames(self, frames: list[Frame]) -> None:
        self._report(frames)
        for kind, body in frames:
            if self.connection.closed:
                return  # a message has ended this link: nothing more of that life is delivered
            if TELL <= kind <= FAILURE:
                self._message(kind, body)
            elif kind == PART:
                whole = self._assembler.receive(body)
                if whole is not None:
                    self._message(*whole)
            elif kind == WINDOW:
                if len(body) < _COUNT.size:
                    raise RemoteProtocolError("a window report is too short")
                self.outbox.acknowledge(_COUNT.unpack_from(body)[0])
                self.connection.wake()
            elif kind < IGNORABLE:
                raise RemoteProtocolError(f"frame kind {kind} does not belong on a data lane")
        self._progressed(self)

    def _report(self, frames: list[Frame]) -> None:
        """Give the peer its window back, before the work on what came: it writes more in the meantime."""
        for kind, body in frames:
            if kind < WINDOW:
                self._consumed += len(body) + HEADER_SIZE
        # A peer that does not read gets no pile of reports: they add up.
        if self._consumed >= self._report_after and self.connection.backlog < BACKLOG:
            self.connection.send(encode(WINDOW, _COUNT.pack(self._consumed)))
            self.connection.flush()
            self._consumed = 0

    def _message(self, kind: int, body: Body) -> None:
        self.delivered += 1
        self._counts.received += 1
        if kind == TELL:
            try:
                envelope = self._coder.decode(body)
            except BadEnvelope as bad:
                self._inbound.dead_letter(bad.envelope, self._why_bad(bad))
            else:
                self._inbound.on_envelope(self._peer.node, envelope, None)
            return
        if len(body) < _ID.size:
            raise RemoteProtocolError("an ask or its outcome is too short")
        (number,) = _ID.unpack_from(body)
        body = body[_ID.size :]
        if kind == ASK:
            self._asked(number, body)
            return
        reply_to = self._asks.pop(number, None)
        if reply_to is None:
            self._counts.late += 1
        else:
            reply_to(decode_failure(body) if kind == FAILURE else self._coder.decode_reply(body))

    def _asked(self, number: int, body: Body) -> None:
        try:
            envelope = self._coder.decode(body)
        except BadEnvelope as bad:
            if isinstance(bad, NotAllowed):
                self._inbound.dead_letter(bad.envelope, self._why_bad(bad))
            self.reply(number, bad.envelope.sender, bad.error)
            return
        sender = envelope.sender
        self._inbound.on_envelope(
            self._peer.node, envelope, lambda outcome: self.reply(number, sender, outcome)
        )

    def _why_bad(self, bad: BadEnvelope) -> str:
        if not isinstance(bad, NotAllowed):
            return str(bad.error)
        self._counts.not_allowed += 1
        if self._counts.not_allowed == 1:  # one line per link: the peer could send on and on
            log.warning("transport.not_allowed", peer=self._peer.node, reason=bad.reason)
        return bad.reason


def _nothing() -> None:
    """The ask has its outcome already."""
