"""Envelopes and outcomes on the wire: one msgpack list each, to which later versions may append.

``[target, sender, name, payload, remaining, metadata]``. The target is a number (in the receiving node's
present life, which the lane fixes) or a name; the sender likewise, or a whole address where it lives
elsewhere, or nil.
"""

from __future__ import annotations

import math
from typing import Any

from sllm_actors.actors.errors import (
    ActorGone,
    AskError,
    AskTimeout,
    CallCycle,
    MailboxFull,
    PeerDown,
    RemoteFailure,
    UnknownMessage,
)
from sllm_actors.actors.identity import Address, Incarnation, NodeId
from sllm_actors.actors.network import NO_METADATA, Envelope, Metadata

from .codec import Codec, address_from_wire, address_to_wire, is_key, pack, unpack

TEXT_LIMIT = 4096
"""Characters of one text of an error on the wire; longer ones are cut."""

CHAIN_LIMIT = 256
"""Actors in a call chain that a peer sends; a longer one makes its envelope unreadable."""

LONGEST = 1e9
"""Seconds until an asker's deadline at most, some thirty years: no clock or timer breaks on it."""

_PLAIN: dict[str, type[AskError]] = {
    "actor_gone": ActorGone,
    "ask_timeout": AskTimeout,
    "mailbox_full": MailboxFull,
    "call_cycle": CallCycle,
}


class BadEnvelope(Exception):
    """An envelope came that cannot be delivered.

    Attributes:
        envelope: As much of it as could be read (its message is an ``Unreadable``, if that could not be).
        error: The answer for its asker.
    """

    def __init__(self, envelope: Envelope, error: AskError) -> None:
        super().__init__(str(error))
        self.envelope = envelope
        self.error = error


class NotAllowed(BadEnvelope):
    """An envelope came whose message is not taken from that node (see ``Catalog.message``)."""

    def __init__(self, envelope: Envelope, reason: str) -> None:
        super().__init__(envelope, RemoteFailure("NotAllowed", reason))
        self.reason = reason


class Unreadable:
    """Stands for a message that could not be read, in a dead letter."""

    def __repr__(self) -> str:
        return "Unreadable()"


class EnvelopeCoder:
    """Writes and reads the envelopes of one link.

    Args:
        codec: Writes and reads the messages in them.
        local: This node and its life, to which the numbers of receivers belong that come in.
        peer: The peer and its life, to which the numbers of senders belong that come in.
        role: The peer's role, on which depends what is taken from it.
    """

    def __init__(
        self, codec: Codec, local: tuple[NodeId, Incarnation], peer: tuple[NodeId, Incarnation], role: str
    ) -> None:
        self._codec = codec
        self._local = local
        self._peer = peer
        self._role = role

    def encode(self, envelope: Envelope) -> bytes:
        """Return the envelope's bytes.

        Raises:
            UnknownMessage: Its message is not in the catalog or cannot be written.
        """
        name, payload = self._codec.to_wire(envelope.message)
        metadata = envelope.metadata
        return pack(
            [
                envelope.target.key,
                self._sender_to_wire(envelope.sender),
                name,
                payload,
                envelope.remaining,
                None if metadata is NO_METADATA else _metadata_to_wire(metadata),
            ]
        )

    def decode(self, body: bytes | memoryview) -> Envelope:
        """Read an envelope.

        Raises:
            BadEnvelope: The envelope or its message cannot be read, or the message is not known here.
            NotAllowed: The message is not taken from that peer.
        """
        target = Address(*self._local, 0)
        sender = None
        try:
            raw = unpack(body)
            try:
                key, sender_raw, name, payload, remaining, metadata = raw[:6]
                target = self._address(key, *self._local)
                sender = self._sender_from_wire(sender_raw)
                remaining = None if remaining is None else _seconds(remaining)
                metadata = NO_METADATA if metadata is None else _metadata_from_wire(metadata)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise UnknownMessage("its envelope cannot be read") from error
            message = self._codec.from_wire(name, payload)
        except UnknownMessage as error:
            raise BadEnvelope(Envelope(target, Unreadable(), sender), error) from error
        envelope = Envelope(target, message, sender, remaining, metadata)
        if message is not None and (why := self._codec.why_not(message, self._peer[0], self._role)):
            raise NotAllowed(envelope, why)
        return envelope

    def encode_reply(self, reply: Any) -> bytes:
        """Return the bytes of a reply.

        Raises:
            UnknownMessage: The reply is not in the catalog or cannot be written.
        """
        return pack(self._codec.to_wire(reply))

    def decode_reply(self, body: bytes | memoryview) -> Any:
        """Read a reply; one that cannot be read comes back as an ``UnknownMessage``."""
        try:
            name, payload, *_ = unpack(body)
            return self._codec.from_wire(name, payload)
        except UnknownMessage as error:
            return error
        except (ValueError, TypeError):
            return UnknownMessage("the reply cannot be read")

    def _sender_to_wire(self, sender: Address | None) -> Any:
        if sender is None:
            return None
        if sender.node == self._local[0] and (
            sender.incarnation is None or sender.incarnation == self._local[1]
        ):
            return sender.key
        return address_to_wire(sender)

    def _sender_from_wire(self, raw: Any) -> Address | None:
        if raw is None:
            return None
        return address_from_wire(raw) if isinstance(raw, list) else self._address(raw, *self._peer)

    @staticmethod
    def _address(key: Any, node: NodeId, life: Incarnation) -> Address:
        if not is_key(key):
            raise ValueError("not a key")
        return Address(node, None if isinstance(key, str) else life, key)


def encode_failure(error: AskError) -> bytes:
    """Return the bytes of an error, its texts cut to ``TEXT_LIMIT`` characters."""
    for name, plain in _PLAIN.items():
        if type(error) is plain:
            return pack([name, _cut(str(error))])
    match error:
        case UnknownMessage():
            return pack(["unknown_message", _cut(error.message)])
        case PeerDown():
            return pack(["peer_down", _cut(error.reason), _cut(error.node)])
        case RemoteFailure():
            return pack(["remote_failure", _cut(error.message), _cut(error.type_name)])
        case _:
            return pack(["remote_failure", _cut(str(error)), type(error).__name__])


def decode_failure(body: bytes | memoryview) -> AskError:
    """Read an error; a kind that a later version has added comes back as a ``RemoteFailure`` of that name."""
    try:
        raw = unpack(body)
    except UnknownMessage:
        raw = None
    match raw:
        case [str(kind), str(text), *more]:
            text = _cut(text)
            detail = _cut(more[0]) if more and isinstance(more[0], str) else None
        case _:
            return UnknownMessage("the error cannot be read")
    if kind in _PLAIN:
        return _PLAIN[kind](text)
    if kind == "unknown_message":
        return UnknownMessage(text)
    if kind == "peer_down" and detail is not None:
        return PeerDown(NodeId(detail), text)
    return RemoteFailure(_cut(kind) if detail is None else detail, text)


def _metadata_to_wire(metadata: Metadata) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if metadata.request_id:
        out["request_id"] = metadata.request_id
    if metadata.call_chain:
        out["call_chain"] = metadata.call_chain
    if metadata.extra:
        out["extra"] = metadata.extra
    return out


def _metadata_from_wire(raw: dict[str, Any]) -> Metadata:
    chain = raw.get("call_chain", [])
    if len(chain) > CHAIN_LIMIT:
        raise ValueError("the call chain is too long")
    extra = {_text(key): _text(value) for key, value in raw.get("extra", {}).items()}
    return Metadata(_text(raw.get("request_id", "")), tuple(map(_text, chain)), extra)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")  # never str(): of a deep structure it raises, of a long one it costs
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("not a time that remains")
    return min(float(value), LONGEST)


def _cut(text: str) -> str:
    return text[:TEXT_LIMIT]
