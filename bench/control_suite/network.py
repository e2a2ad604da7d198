"""The head's network: what its actors send to nodes goes to the fleet, in the bytes of the real links."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import anyio
import msgpack
from attrs import field, frozen

from sllm_actors.actors import (
    ActorSystem,
    Address,
    AskError,
    Catalog,
    Envelope,
    Incarnation,
    NodeId,
    Outcome,
    PeerDown,
    ReplyTo,
)
from sllm_actors.transport import Peer, PeerLost, PeerUp
from sllm_actors.transport.codec import Codec
from sllm_actors.transport.envelope import BadEnvelope, EnvelopeCoder, decode_failure, encode_failure

from .meter import Meter
from .wire import Kind, Lane


@frozen(eq=False)
class Link:
    """A node that is linked; ``asked`` are the questions to it that wait for an answer, by number."""

    peer: Peer
    coder: EnvelopeCoder
    asked: dict[int, ReplyTo] = field(factory=dict)


class FleetNetwork:
    """The ``Network`` of the head's actor system.

    Args:
        system: That system.
        catalog: All messages.
        meter: Begins and answers when the fleet says so.
        news: Told of each link that comes up or is lost.

    Attributes:
        lane: The socket to the fleet; to be set before any frame comes.
        closed: Set when the fleet is gone.
    """

    lane: Lane

    def __init__(
        self,
        system: ActorSystem,
        catalog: Catalog,
        meter: Meter,
        news: Callable[[PeerUp | PeerLost], None],
    ) -> None:
        self._system = system
        self._codec = Codec(catalog)
        self._meter = meter
        self._news = news
        self._links: dict[str, Link] = {}
        self._numbers = itertools.count(1)
        self.closed = anyio.Event()

    def peers(self) -> tuple[Peer, ...]:
        """Return the nodes that are linked, by id, as ``Transport.peers`` does."""
        return tuple(link.peer for _, link in sorted(self._links.items()))

    # ---- frames from the fleet

    def take(self, kind: int, node: str, number: int, body: bytes) -> None:
        """Take one frame."""
        match kind:
            case Kind.UP:
                self._up(node, *msgpack.unpackb(body))
            case Kind.LOST:
                self._lost(node, body.decode())
            case Kind.BEGIN:
                self._meter.begin()
            case Kind.MEASURE:
                figures = {**self._meter.figures(), "dead_letters": self._system.statistics().dead_letters}
                self.lane.send(Kind.REPLY, node, number, msgpack.packb(figures))
            case _ if node in self._links:
                self._from_node(kind, self._links[node], number, body)

    def _up(self, node: str, role: str, counter: int, host: str) -> None:
        peer = Peer(NodeId(node), role, Incarnation(counter, 0), host, outbound=False)
        local = (self._system.node, self._system.incarnation)
        coder = EnvelopeCoder(self._codec, local, (peer.node, peer.incarnation), role)
        self._links[node] = Link(peer, coder)
        self._news(PeerUp(peer))

    def _lost(self, node: str, reason: str) -> None:
        link = self._links.pop(node, None)
        if link is None:
            return
        for reply_to in link.asked.values():
            reply_to(PeerDown(link.peer.node, reason))
        self._system.on_peer_down(link.peer.node, link.peer.incarnation, reason)
        self._news(PeerLost(link.peer, reason))

    def _from_node(self, kind: int, link: Link, number: int, body: bytes) -> None:
        match kind:
            case Kind.TELL | Kind.ASK:
                answer = self._answer(link, number) if kind == Kind.ASK else None
                try:
                    envelope = link.coder.decode(body)
                except BadEnvelope as bad:
                    self._system.dead_letter(bad.envelope, str(bad))
                    if answer is not None:
                        answer(bad.error)
                else:
                    self._system.on_envelope(link.peer.node, envelope, answer)
            case Kind.REPLY if reply_to := link.asked.pop(number, None):
                reply_to(link.coder.decode_reply(body))
            case Kind.FAILURE if reply_to := link.asked.pop(number, None):
                reply_to(decode_failure(body))

    def _answer(self, link: Link, number: int) -> ReplyTo:
        def answer(outcome: Outcome) -> None:
            if isinstance(outcome, AskError):
                self.lane.send(Kind.FAILURE, link.peer.node, number, encode_failure(outcome))
            else:
                self.lane.send(Kind.REPLY, link.peer.node, number, link.coder.encode_reply(outcome))

        return answer

    # ---- actors.Network

    def tell(self, envelope: Envelope) -> None:
        """See ``Network``."""
        link = self._link(envelope.target)
        if isinstance(link, str):
            self._system.dead_letter(envelope, link)
        else:
            self.lane.send(Kind.TELL, link.peer.node, 0, link.coder.encode(envelope))

    def ask(self, envelope: Envelope, reply_to: ReplyTo) -> Callable[[], None]:
        """See ``Network``."""
        link = self._link(envelope.target)
        if isinstance(link, str):
            reply_to(PeerDown(envelope.target.node, link))
            return lambda: None
        number = next(self._numbers)
        asked = link.asked
        asked[number] = reply_to
        self.lane.send(Kind.ASK, link.peer.node, number, link.coder.encode(envelope))
        return lambda: _forget(asked, number)

    def monitor(self, target: Address, watch: int) -> None:
        """The head monitors no actor of another node."""
        raise NotImplementedError

    def demonitor(self, target: Address, watch: int) -> None:
        """See ``monitor``."""
        raise NotImplementedError

    def down(self, peer: NodeId, watch: int, reason: str) -> None:
        """No node of the fleet monitors an actor of the head."""
        raise NotImplementedError

    def _link(self, target: Address) -> Link | str:
        return self._links.get(target.node) or f"no link to {target.node}"


def _forget(asked: dict[int, ReplyTo], number: int) -> None:
    asked.pop(number, None)
