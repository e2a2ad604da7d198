"""Messages and envelopes on the wire: round trips, other versions, and everything that cannot be read."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from attrs import field, frozen
from attrs.validators import max_len
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.actors.errors import ActorGone, AskError, PeerDown, RemoteFailure, UnknownMessage
from sllm_actors.actors.identity import Address, NodeId
from sllm_actors.actors.message import Catalog
from sllm_actors.actors.network import NO_METADATA, Envelope, Metadata
from sllm_actors.actors.reference import ActorRef
from sllm_actors.actors.system import ActorSystem
from sllm_actors.transport import reference_hooks
from sllm_actors.transport.codec import Codec, address_from_wire, address_to_wire, pack, unpack
from sllm_actors.transport.envelope import (
    BadEnvelope,
    EnvelopeCoder,
    NotAllowed,
    decode_failure,
    encode_failure,
)
from sllm_actors.transport.errors import TunnelBroken, TunnelRefused

from .kit import CATALOG, Text, Unregistered, Whereabouts, life
from .test_golden import LEFT, RIGHT, coder, receiver

LOCAL = Catalog()


@frozen
class Order:
    text: str


@LOCAL.message("local.many")
@frozen
class Many:
    numbers: tuple[int, ...] = ()
    table: dict[str, float] = field(factory=dict)
    inner: Text | None = None
    names: frozenset[str] = frozenset()
    short: str = field(default="", validator=max_len(3))


@LOCAL.message("local.carries")
@frozen
class Carries:
    ref: ActorRef
    others: tuple[ActorRef, ...] = ()


@LOCAL.message("local.anything")
@frozen
class Anything:
    value: Any = None


def codec(*parts: Catalog) -> Codec:
    return Codec(Catalog(LOCAL, CATALOG, *parts))


def there_and_back(message: Any, using: Codec) -> Any:
    name, value = using.to_wire(message)
    return using.from_wire(name, unpack(pack(value)))


@given(
    st.builds(
        Many,
        st.lists(st.integers(-(2**63), 2**63 - 1)).map(tuple),
        st.dictionaries(st.text(), st.floats(allow_nan=False)),
        st.none() | st.builds(Text, st.text()),
        st.frozensets(st.text()),
        st.text(max_size=3),
    )
)
def test_a_message_survives_the_wire(message: Many) -> None:
    assert there_and_back(message, codec()) == message


def test_none_is_a_reply_too() -> None:
    assert there_and_back(None, codec()) is None


def test_unknown_fields_are_ignored_and_missing_ones_take_their_defaults() -> None:
    using = codec()
    assert using.from_wire("local.many", {"numbers": [1], "colour": "red"}) == Many((1,))


def test_what_has_its_default_is_not_sent() -> None:
    message = Many(inner=Text("x"), names=frozenset())
    assert codec().to_wire(message) == ("local.many", {"inner": {"text": "x"}})
    assert there_and_back(message, codec()) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("local.nothing", {}),
        (b"local.many", {}),
        (["local.many"], {}),
        (7, {}),
        ("local.many", None),
        ("local.many", [1]),
        ("local.many", {"numbers": 5}),
        ("local.many", {"numbers": ["x"]}),
        ("local.many", {"short": "four"}),
        ("local.many", {"inner": {"text": "x"}, "names": 3}),
        ("test.blob", {}),
        ("test.whereabouts", {"address": ["n"]}),
    ],
)
def test_what_cannot_be_read_is_an_unknown_message(name: Any, value: Any) -> None:
    with pytest.raises(UnknownMessage):
        codec().from_wire(name, value)


@pytest.mark.parametrize("message", [Unregistered(), "text", 5, Many(numbers=None), Many])  # type: ignore[arg-type]
def test_what_cannot_be_written_is_an_unknown_message(message: Any) -> None:
    with pytest.raises(UnknownMessage):
        codec().to_wire(message)


def test_a_value_that_msgpack_cannot_hold_is_an_unknown_message() -> None:
    name, value = codec().to_wire(Anything(object()))
    with pytest.raises(UnknownMessage, match="cannot be sent"):
        pack([name, value])
    with pytest.raises(UnknownMessage, match="cannot be sent"):
        pack(1 << 70)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_or_an_unknown_message(data: bytes) -> None:
    for work in (unpack, receiver().decode_reply, receiver().decode, decode_failure):
        try:
            work(data)
        except (UnknownMessage, BadEnvelope):
            continue


@pytest.mark.parametrize(
    "address",
    [
        Address(NodeId("n"), life(3), 5),
        Address(NodeId("n"), None, "router"),
        Address(NodeId("n"), life(0), 0),
    ],
)
def test_an_address_survives_the_wire(address: Address) -> None:
    assert address_from_wire([*address_to_wire(address), "a later field"]) == address


@pytest.mark.parametrize(
    "raw",
    [
        [1, 2, 3, 4],
        ["n", 1, None, 5],
        ["n", -1, 0, 5],
        ["n", 1, 1, -5],
        ["n", 1, 1, ""],
        ["n", 1, 1, "x" * 1025],
        ["n", None, None, None],
        ["n", 1, 1, True],
    ],
)
def test_what_is_no_address_is_refused(raw: list[Any]) -> None:
    with pytest.raises(ValueError):
        address_from_wire(raw)


@pytest.mark.anyio
async def test_a_ref_travels_as_its_address_and_becomes_a_ref_of_the_receiver() -> None:
    here, there = (
        ActorSystem(node=LEFT[0], incarnation=LEFT[1]),
        ActorSystem(node=RIGHT[0], incarnation=RIGHT[1]),
    )
    catalog = Catalog(LOCAL)
    message = Carries(here.named("router"), (here.ref(Address(RIGHT[0], RIGHT[1], 4)),))
    name, value = Codec(catalog, reference_hooks(here)).to_wire(message)
    got = Codec(catalog, reference_hooks(there)).from_wire(name, unpack(pack(value)))
    assert got == Carries(there.named("router", LEFT[0]), (there.ref(Address(RIGHT[0], RIGHT[1], 4)),))


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(
            Address(*RIGHT, 5), Text("hi"), Address(*LEFT, 3), 0.25, Metadata("r", ("a/1", "b/2"), {"k": "v"})
        ),
        Envelope(Address(RIGHT[0], None, "name"), Text(), Address(LEFT[0], None, "me")),
        Envelope(Address(*RIGHT, 5), Text(), Address(LEFT[0], life(77), 3)),
        Envelope(Address(*RIGHT, 5), Whereabouts(Address(*RIGHT, 1), (1.0,), "n"), None, 3.0, Metadata()),
    ],
)
def test_an_envelope_survives_the_wire(envelope: Envelope) -> None:
    assert receiver().decode(coder().encode(envelope)) == envelope


def test_empty_metadata_costs_nothing() -> None:
    assert receiver().decode(coder().encode(Envelope(Address(*RIGHT, 5), Text()))).metadata is NO_METADATA


GOOD = [5, 3, "test.text", {"text": "x"}, None, None]


def changed(at: int, value: Any) -> bytes:
    return bytes(msgpack.packb([*GOOD[:at], value, *GOOD[at + 1 :]]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgpack.packb(5),
        msgpack.packb({}),
        msgpack.packb(GOOD[:5]),
        changed(0, None),
        changed(0, -1),
        changed(1, "x" * 2000),
        changed(1, ["n", 1]),
        changed(2, "no.such"),
        changed(4, "soon"),
        changed(5, 7),
        changed(5, {"extra": 7}),
        changed(5, {"call_chain": ["x"] * 257}),
        changed(5, {"call_chain": 7}),
        changed(5, {"request_id": ["deep", ["deeper"]]}),
    ],
)
def test_an_envelope_that_cannot_be_read_says_what_is_known_of_it(body: bytes) -> None:
    with pytest.raises(BadEnvelope) as caught:
        receiver().decode(body)
    assert isinstance(caught.value.error, UnknownMessage)
    assert caught.value.envelope.target.node == "right"
    assert repr(caught.value.envelope.message) == "Unreadable()"


def test_a_message_that_is_not_taken_from_its_sender_is_an_error_and_known_to_the_log() -> None:
    orders = Catalog()
    orders.message("test.order", senders={"head"})(Order)
    codecs = Codec(orders)
    body = EnvelopeCoder(codecs, LEFT, RIGHT, "worker").encode(Envelope(Address(*RIGHT, 5), Order("stop")))
    assert EnvelopeCoder(codecs, RIGHT, LEFT, "head").decode(body).message == Order("stop")
    with pytest.raises(NotAllowed) as caught:
        EnvelopeCoder(codecs, RIGHT, LEFT, "worker").decode(body)
    assert caught.value.envelope.message == Order("stop")
    assert caught.value.reason == "test.order is not taken from a worker"
    assert isinstance(caught.value.error, RemoteFailure)


def test_later_fields_of_an_envelope_are_ignored() -> None:
    body = msgpack.packb([*GOOD[:5], {"request_id": "r", "tomorrow": 1}, "more", 7])
    envelope = receiver().decode(body)
    assert envelope.message == Text("x")
    assert envelope.metadata == Metadata("r")


def test_a_reply_survives_the_wire_and_a_bad_one_is_an_error() -> None:
    using = EnvelopeCoder(codec(), LEFT, RIGHT, "worker")
    assert using.decode_reply(using.encode_reply(Text("x"))) == Text("x")
    assert using.decode_reply(using.encode_reply(None)) is None
    with pytest.raises(UnknownMessage):
        using.encode_reply("not a message")
    for body in (b"", msgpack.packb(5), msgpack.packb(["one"]), msgpack.packb(["no.such", {}])):
        assert isinstance(using.decode_reply(body), UnknownMessage)


class Odd(AskError):
    """An error of a kind that the wire does not know."""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (msgpack.packb(["later_kind", "text"]), RemoteFailure("later_kind", "text")),
        (msgpack.packb(["peer_down", "text"]), RemoteFailure("peer_down", "text")),
        (
            msgpack.packb(["remote_failure", "text", "ValueError", "more"]),
            RemoteFailure("ValueError", "text"),
        ),
        (msgpack.packb(["actor_gone", "text", 7]), ActorGone("text")),
        (msgpack.packb([1, 2]), UnknownMessage("the error cannot be read")),
        (msgpack.packb(["alone"]), UnknownMessage("the error cannot be read")),
        (msgpack.packb(5), UnknownMessage("the error cannot be read")),
        (b"\xc1", UnknownMessage("the error cannot be read")),
        (encode_failure(Odd("strange")), RemoteFailure("Odd", "strange")),
        (encode_failure(PeerDown("n", "x" * 9000)), PeerDown("n", "x" * 4096)),
    ],
)
def test_errors_of_any_version_can_be_read(body: bytes, expected: AskError) -> None:
    error = decode_failure(body)
    assert type(error) is type(expected)
    assert str(error) == str(expected)


def test_a_codec_learns_each_class_once() -> None:
    using = codec()
    for _ in range(2):
        assert there_and_back(Text("x"), using) == Text("x")


def test_a_tunnel_that_breaks_says_why() -> None:
    error = TunnelBroken("the far end has left")
    assert error.reason == str(error) == "the far end has left"


def test_a_refused_tunnel_says_why() -> None:
    error = TunnelRefused("there is no such replica")
    assert (error.reason, str(error)) == ("there is no such replica", "there is no such replica")
