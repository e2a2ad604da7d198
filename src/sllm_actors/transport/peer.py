"""The node at the other end of a link, and the events that report on it."""

from __future__ import annotations

from attrs import evolve, field, frozen

from sllm_actors.actors.identity import Incarnation, NodeId


@frozen
class NodeIdentity:
    """What this node says it is, in every handshake.

    Attributes:
        node: The node's id, kept in its data directory.
        role: ``head``, ``worker``, ``gateway`` or another word for a person.
        incarnation: This life of the node.
        cluster: The id of the cluster; nodes of different clusters refuse each other.
    """

    node: NodeId
    role: str
    incarnation: Incarnation
    cluster: str

    def reborn(self, incarnation: Incarnation) -> NodeIdentity:
        """Return the same node in a later life.

        Raises:
            ValueError: The incarnation is not a later one.
        """
        if not incarnation > self.incarnation:
            raise ValueError(f"incarnation {incarnation} is not later than {self.incarnation}")
        return evolve(self, incarnation=incarnation)


@frozen
class Peer:
    """One life of another node, as seen from here.

    Attributes:
        host: The address that its connection was observed to come from (or go to).
        outbound: Whether this node dialled it.
        public_key: The node's own key, which it has proved to hold.
        has_credential: Whether a credential of the head vouches for its role and key. At a head, a node that
            joins has none yet; the head itself then decides what the node may be.
    """

    node: NodeId
    role: str
    incarnation: Incarnation
    host: str
    outbound: bool
    public_key: bytes = field(default=b"", repr=False)
    has_credential: bool = True


@frozen
class PeerUp:
    """Control and data lane of the peer are open: from now on it can be told, asked and monitored."""

    peer: Peer


@frozen
class PeerLost:
    """This incarnation of the peer is down, for good. Comes once for each ``PeerUp``.

    Attributes:
        peer: Which one.
        reason: Why, as a sentence for a person.
        left: Whether it has said so itself: it stops, or wants no link any more.
    """

    peer: Peer
    reason: str
    left: bool = False


@frozen
class PeerDoubted:
    """The peer's connection was closed without a goodbye, and it has not connected again in a moment.

    It is still linked. What follows, within ``TransportSettings.budget`` seconds, is ``PeerTrusted`` or
    ``PeerLost``.

    Attributes:
        peer: Which one.
        reason: How the connection ended, as a sentence for a person.
    """

    peer: Peer
    reason: str


@frozen
class PeerTrusted:
    """A peer that was doubted is back in the same life: nothing but what was on its way then is lost."""

    peer: Peer


@frozen
class NoLink:
    """Why a dialled address gives no link.

    Attributes:
        address: ``HOST:PORT``, as dialled.
        reason: One sentence for a person.
        refused: Whether something answered there and said no, or is no node of the cluster: dialling on does
            not help until a person has changed something. Otherwise it may come up at any time.
    """

    address: str
    reason: str
    refused: bool


@frozen
class Verdict:
    """What the node itself says about a peer that has proved who it is.

    Attributes:
        refusal: Why it may not come in, as the end of the sentence "… refused this node: …"; empty to accept.
    """

    refusal: str = ""


ACCEPT = Verdict()


@frozen
class NodeHello:
    """What a peer that dials this node has said and proved; handed to the node's own judgement.

    Attributes:
        host: The observed address.
        public_key: The node's own key, which it has proved to hold.
        has_credential: Whether a credential of the head vouches for its role and key.
    """

    node: NodeId
    role: str
    incarnation: Incarnation
    lane: str
    host: str
    public_key: bytes = field(repr=False)
    has_credential: bool
