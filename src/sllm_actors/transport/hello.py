"""What two nodes say to each other first: the fields of a hello, as a msgpack map, and the refusal codes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgpack
from attrs import field, frozen

from sllm_actors.actors.identity import Incarnation, NodeId

from .credential import CREDENTIAL_LIMIT
from .errors import HandshakeFailed
from .key_pair import PUBLIC_KEY_SIZE
from .settings import CHUNK

PROTOCOL_MIN = 2
PROTOCOL_MAX = 2
NONCE_SIZE = 32  # bytes
NAME_LIMIT = 255  # characters of an id, a role or a capability
LEAST_WINDOW = 3 * CHUNK
"""Bytes of the smallest window: in a smaller one, the largest frame might never fit beside bytes that were
consumed and are not reported yet."""
LEAST_MESSAGE = 1024
"""Bytes that every node must take as one message."""
CAPABILITIES = frozenset({"parts", "tunnel-call"})
"""What this version can do beyond the bare protocol. Both sides use what both have."""
MANDATORY = CAPABILITIES
"""What no lane works without: a peer that lacks one is refused. (A long message has no other way than parts,
and a node that cannot be dialled no other tunnel.) Only what later versions add can be left out."""


class Lane(StrEnum):
    """What a connection is for."""

    CONTROL = "control"
    DATA = "data"
    TUNNEL = "tunnel"


class Code(StrEnum):
    """Why a handshake was refused; ``OK`` where it was not."""

    OK = "ok"
    PROTOCOL = "protocol"
    CLUSTER = "cluster"
    SECRET = "secret"  # noqa: S105 - the name of a refusal
    CAPABILITY = "capability"
    SELF = "self"  # a node has dialled itself
    OLDER = "older"  # a later life of that node is known
    DUPLICATE = "duplicate"  # another live node has that id
    IDENTITY = "identity"  # it does not prove to be the node, or in the role, that it says it is
    JOINING = "joining"  # one of the two has no credential yet: try again
    DOWN = "down"  # that life was declared down
    LINKED = "linked"  # the two lives have a control lane already
    LANE = "lane"  # a data or tunnel lane that does not fit the link
    BUSY = "busy"  # the node has just taken a new life: try again
    REFUSED = "refused"  # by the node's own judgement, or for a reason of a later version
    BROKEN = "broken"  # the bytes make no sense
    CLOSED = "closed"  # the connection ended during the handshake


@frozen
class Hello:
    """One side's half of a handshake.

    Attributes:
        cluster: The id of the cluster.
        node: The node's id.
        role: ``head``, ``worker``, ``gateway`` or another word for a person.
        incarnation: The node's present life.
        versions: The lowest and the highest protocol version that it speaks.
        previous: The life that this one follows without a restart (the node was declared down), or None.
        lane: What the connection is for; the dialler chooses, the acceptor repeats.
        capabilities: What it can do.
        needs: What the other side must be able to do.
        nonce: 32 fresh random bytes: no handshake can be replayed.
        public_key: The node's own public key, which its proof is signed with. (Empty in a hello of protocol
            1.)
        credential: The encoded ``Credential`` of the node; empty while it has none.
        links: With how many peers it is linked, 0 where it cannot know (of two nodes that must not meet
            again in their present lives, the one with fewer links takes a new one).
        epoch: Of a data lane: higher than that of any data lane before it on the same link.
        window: How many bytes may be in flight towards it on a data lane.
        max_message: The longest message that it takes, in bytes.
    """

    cluster: str
    node: NodeId
    role: str
    incarnation: Incarnation
    lane: Lane
    nonce: bytes = field(repr=False)
    public_key: bytes = field(default=b"", repr=False)
    credential: bytes = field(default=b"", repr=False)
    versions: tuple[int, int] = (PROTOCOL_MIN, PROTOCOL_MAX)
    previous: Incarnation | None = None
    capabilities: frozenset[str] = CAPABILITIES
    needs: frozenset[str] = frozenset()
    links: int = 0
    epoch: int = 0
    window: int = 256 * 1024
    max_message: int = 4 * 1024 * 1024


def encode_hello(hello: Hello) -> bytes:
    """Return the hello as a msgpack map with sorted keys."""
    previous = hello.previous
    return bytes(
        msgpack.packb(
            {
                "capabilities": sorted(hello.capabilities),
                "cluster": hello.cluster,
                "credential": hello.credential,
                "epoch": hello.epoch,
                "incarnation": [hello.incarnation.counter, hello.incarnation.nonce],
                "lane": hello.lane.value,
                "links": hello.links,
                "max_message": hello.max_message,
                "needs": sorted(hello.needs),
                "node": hello.node,
                "nonce": hello.nonce,
                "previous": None if previous is None else [previous.counter, previous.nonce],
                "public_key": hello.public_key,
                "role": hello.role,
                "versions": list(hello.versions),
                "window": hello.window,
            }
        )
    )


def decode_hello(body: bytes) -> Hello:
    """Read a hello; fields that are not known are ignored, and those with a default may be missing.

    Raises:
        HandshakeFailed: The bytes are no hello, or a field has a value that it must not have.
    """
    try:
        raw = msgpack.unpackb(body)
        optional: dict[str, Any] = {}
        if raw.get("previous") is not None:
            optional["previous"] = _incarnation(raw["previous"])
        for name in ("capabilities", "needs"):
            if name in raw:
                optional[name] = frozenset(_text(each) for each in raw[name])
        for name, least in (
            ("links", 0),
            ("epoch", 0),
            ("window", LEAST_WINDOW),
            ("max_message", LEAST_MESSAGE),
        ):
            if name in raw:
                optional[name] = _number(raw[name], at_least=least)
        if "public_key" in raw:
            optional["public_key"] = _bytes(
                raw["public_key"], at_least=PUBLIC_KEY_SIZE, at_most=PUBLIC_KEY_SIZE
            )
        if "credential" in raw:
            optional["credential"] = _bytes(raw["credential"], at_most=CREDENTIAL_LIMIT)
        lowest, highest = raw["versions"]
        return Hello(
            cluster=_text(raw["cluster"]),
            node=NodeId(_text(raw["node"])),
            role=_text(raw["role"]),
            incarnation=_incarnation(raw["incarnation"]),
            lane=Lane(raw["lane"]),
            nonce=_bytes(raw["nonce"], at_least=NONCE_SIZE, at_most=NONCE_SIZE),
            versions=(_number(lowest), _number(highest)),
            **optional,
        )
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise HandshakeFailed(Code.BROKEN, "its hello cannot be read") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME_LIMIT or not value.isprintable():
        raise ValueError("not a name")
    return value


def _number(value: object, *, at_least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value < 1 << 64:
        raise ValueError("not a number")
    return value


def _bytes(value: object, *, at_least: int = 0, at_most: int) -> bytes:
    if not isinstance(value, bytes) or not at_least <= len(value) <= at_most:
        raise ValueError("not bytes")
    return value


def _incarnation(value: Any) -> Incarnation:
    counter, nonce = value
    return Incarnation(_number(counter), _number(nonce))
