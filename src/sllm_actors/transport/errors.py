"""What can go wrong on the wire, kept apart by who is at fault and by who is told."""

from __future__ import annotations


class TransportError(Exception):
    """Any failure of the transport."""


class RemoteProtocolError(TransportError):
    """The peer sent bytes that no correct peer sends. The connection is closed; the peer may dial again."""


class HandshakeFailed(TransportError):
    """No link came of a handshake.

    Attributes:
        code: Which of the reasons in ``hello.Code`` it was, or ``"broken"`` where the bytes made no sense.
        reason: One sentence fragment for a person, without the peer's address.
        final: Whether the sentence stands alone (it does not read "… refused this node: …").
    """

    def __init__(self, code: str, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.final = final


class TunnelRefused(TransportError):
    """The peer's node answered that it will not open this tunnel (or it did not answer in time).

    Attributes:
        reason: Why, in words for a person.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NodeFull(TunnelRefused):
    """This node or the peer's has no room for one more tunnel now: too many are open, or too many files.

    What is behind the tunnel is not to blame.
    """


class TunnelBroken(TransportError):
    """A stream ended in the middle: its lane broke, or the far end has reset it.

    Attributes:
        reason: What was observed, in words for a person.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
