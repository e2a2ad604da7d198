"""Whether the other side of a handshake is who it says it is, by its credential. Pure, and the same for both
ends.

By then the peer has proved that it knows the cluster secret and that it holds the key which its hello names
(see ``handshake``). What is left is whether that key, that node id and that role belong together: the head
has signed so, and each node keeps the public key of the head that it joined first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from .admission import Admission
from .credential import Credential, decode_credential
from .hello import Code, Hello
from .key_pair import KeyPair
from .peer import NodeIdentity

HEAD: Final = "head"
"""The role that signs credentials: a node that has none yet may link with no other."""

TRUST_FLAG: Final = "--trust-new-head"
NO_CREDENTIAL: Final = "has no credential of the head yet"
KEY_REMEDY: Final = (
    'put its file "node.key" back beside node.json, or move node.json away to join as a new node'
)

MayDial = Callable[[str, str], bool]
"""Tells whether a node of the first role may dial one of the second."""


def _anyone(_dialler: str, _acceptor: str) -> bool:
    return True


@frozen(eq=False)
class Identification:
    """How a node shows who it is, and whom it believes.

    Attributes:
        key: The node's own key pair.
        kept: Returns the credential that the head of this cluster gave the node, or None before that. It
            also says whom to believe: whoever its ``head_key`` has vouched for, and nobody else.
        may_dial: Which role dials which; anything else is refused. By default, any role dials any.
    """

    key: KeyPair
    kept: Callable[[], Credential | None] = field(default=lambda: None)
    may_dial: MayDial = _anyone

    def shown(self, me: NodeIdentity) -> bytes:
        """Return what the node's hello carries: its credential, or nothing where it has none that fits it.

        One that was given to another node id or key is not shown: so a node that lost its key, or was given
        a new id, is treated as one that joins.
        """
        kept = self.kept()
        named = (me.cluster, me.node, me.role, self.key.public_key)
        if kept is None or (kept.cluster, kept.node, kept.role, kept.public_key) != named:
            return b""
        return kept.encode()

    def judge(self, local: Hello, peer: Hello, *, dialled: bool, expected: str | None = None) -> Admission:
        """Decide whether to believe what the peer's hello says.

        Args:
            local: What this node has said.
            peer: What the peer has said; it has proved the secret and its key.
            dialled: Whether this node is the dialler.
            expected: The role that must answer where this node dialled; None for any.
        """
        if not (self.may_dial(local.role, peer.role) if dialled else self.may_dial(peer.role, local.role)):
            dialler, acceptor = (local, peer) if dialled else (peer, local)
            return _refused(f"a {dialler.role} never dials a {acceptor.role}")
        if expected is not None and peer.role != expected:
            return _refused(f"it is a {peer.role}, and a {expected} belongs there")
        return self._judge_credential(local, peer)

    def _judge_credential(self, local: Hello, peer: Hello) -> Admission:
        kept = self.kept()
        if kept is None and peer.role != HEAD:
            return _joining(f"this {local.role} {NO_CREDENTIAL}")
        if not peer.credential:
            if local.role == HEAD:
                return Admission()  # it joins, and the head's own judgement follows
            return _joining(f"that {peer.role} {NO_CREDENTIAL}")
        try:
            shown = decode_credential(peer.credential)
        except ValueError:
            return _refused("its credential cannot be read")
        if kept is not None and shown.head_key != kept.head_key:
            return _refused(_other_head(local, peer))
        if not shown.is_genuine:
            return _refused("its credential is not signed by the head whose key it names")
        return _fits(shown, peer)


def _other_head(local: Hello, peer: Hello) -> str:
    """Say what to do when a credential is signed by another head key than the one that is kept here."""
    if local.role == HEAD:
        whose = "it joined a head with another key (head.key) than this one"
    elif peer.role == HEAD:
        whose = "it has another key (head.key) than the head that this node joined"
    else:
        whose = f"that {peer.role} joined a head with another key (head.key)"
    return f"{whose}: put that file back, or if it is lost, start such nodes once with {TRUST_FLAG}"


def _fits(shown: Credential, peer: Hello) -> Admission:
    if shown.cluster != peer.cluster:
        return _refused(f"its credential is of cluster {shown.cluster}, not of {peer.cluster}")
    if shown.node != peer.node:
        return _refused(f"its credential is that of {shown.node}, not of {peer.node}")
    if shown.role != peer.role:
        return _refused(f"its credential is that of a {shown.role}, and it calls itself a {peer.role}")
    if shown.public_key != peer.public_key:
        return _refused(f"its credential is of another key than it holds: {KEY_REMEDY}")
    return Admission()


def _refused(reason: str) -> Admission:
    return Admission(Code.IDENTITY, reason)


def _joining(reason: str) -> Admission:
    return Admission(Code.JOINING, reason)
