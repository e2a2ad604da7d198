"""Whether a peer that has proved the secret may open this lane now. Pure, and the same for both ends."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.actors.identity import Incarnation, NodeId

from .hello import Code, Hello, Lane
from .peer import NodeIdentity

LIVE_DUPLICATE = (
    "a live node of that id is linked already: was its data directory copied? Give this one its own"
)


@frozen
class Known:
    """What this node knows about the link to the peer's node id, if it has one.

    Attributes:
        incarnation: The life that the link belongs to.
        up: Whether the link was announced.
        control_open: Whether its control lane is open.
        outbound: Whether this node dialled that control lane.
        lively: Whether something was heard from it within the last two heartbeats.
        data_epoch: The highest epoch of a data lane seen.
        public_key: The key that the peer proved to hold.
    """

    incarnation: Incarnation
    up: bool
    control_open: bool
    outbound: bool
    lively: bool
    data_epoch: int
    public_key: bytes


@frozen
class Admission:
    """Whether a lane may be opened.

    Attributes:
        code: ``OK``, or the kind of the refusal.
        reason: Why it is refused, in words for a person at the other node; empty for ``OK``.
        supersedes: The link that is known must end first: this is a later life of the same node.
    """

    code: Code = Code.OK
    reason: str = ""
    supersedes: bool = False


def admit(
    local: NodeIdentity, peer: Hello, known: Known | None, dead: Incarnation | None, *, dialled: bool
) -> Admission:
    """Judge a lane.

    Args:
        local: This node.
        peer: The peer's hello, proved.
        known: What this node knows about its link to that node id, or None if there is no link.
        dead: The latest life of that node which this node, in its own present life, has declared down.
        dialled: Whether this node is the dialler of the connection at hand.
    """
    if peer.node == local.node:
        return _same_id(local, peer)
    if dead is not None and peer.incarnation <= dead:
        if peer.incarnation == dead:
            return Admission(Code.DOWN, "it was declared down in its present life")
        return Admission(Code.OLDER, f"its life {peer.incarnation} is older than {dead}, which is down")
    if known is not None and peer.incarnation == known.incarnation and peer.public_key != known.public_key:
        return Admission(Code.DUPLICATE, f"a node with another key is linked as {peer.node}")
    if peer.lane is not Lane.CONTROL:
        return _side_lane(peer, known, dialled=dialled)
    if known is None:
        return Admission()
    if peer.incarnation < known.incarnation:
        return Admission(
            Code.OLDER, f"a later life of {peer.node} is linked already: was its data directory copied?"
        )
    if peer.incarnation > known.incarnation:
        successor = peer.previous == known.incarnation
        if known.control_open and known.lively and not successor and not dialled:
            return Admission(Code.DUPLICATE, LIVE_DUPLICATE)
        return Admission(supersedes=True)
    return _again(local, peer.node, known, dialled=dialled)


def _same_id(local: NodeIdentity, peer: Hello) -> Admission:
    if peer.incarnation == local.incarnation:
        return Admission(Code.SELF, "it dialled itself")
    return Admission(Code.DUPLICATE, f"both call themselves {local.node}: was a data directory copied?")


def _again(local: NodeIdentity, peer: NodeId, known: Known, *, dialled: bool) -> Admission:
    """A second control lane between the same two lives: a reconnect, or both dialled at the same time."""
    if not known.control_open:
        return Admission()
    if known.outbound == dialled:
        # The acceptor may not have noticed yet that the old connection is dead: the new one replaces it. The
        # dialler knows its own: this is a second address of a peer that it has already.
        return Admission(Code.LINKED, "it is linked already") if dialled else Admission()
    # Both dialled: the connection that the lower node id dialled stays.
    ours = local.node < peer
    return Admission() if ours == dialled else Admission(Code.LINKED, "it is linked already")


def _side_lane(peer: Hello, known: Known | None, *, dialled: bool) -> Admission:
    if known is None or known.incarnation != peer.incarnation:
        return Admission(Code.LANE, f"a {peer.lane} lane needs a control lane first")
    if peer.lane is Lane.DATA and not dialled and (known.outbound or peer.epoch <= known.data_epoch):
        return Admission(Code.LANE, "it is an old data lane")
    if peer.lane is Lane.TUNNEL and not known.up:
        return Admission(Code.LANE, "a tunnel needs an open link first")
    return Admission()


def dialler_yields(dialler_links: int, acceptor_links: int) -> bool:
    """Tell which of two nodes takes a new life, when their present ones must not link again.

    The one with fewer links does, or the dialler if both have as many. True for the dialler.
    """
    return dialler_links <= acceptor_links
