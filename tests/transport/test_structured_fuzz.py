"""Msgpack of every shape, wherever a peer can put some: a bad peer costs its connection at most."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from typing import Any

import anyio
import msgpack
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strangers import own_connection

from sllm_actors.actors import ActorGone, ActorSystem, AskError
from sllm_actors.actors.identity import NodeId
from sllm_actors.transport import PeerLost, PeerUp
from sllm_actors.transport.codec import Codec
from sllm_actors.transport.control import DEMONITOR, DOWN, LANE_LOST, MONITOR, TUNNEL_CALL
from sllm_actors.transport.envelope import BadEnvelope, EnvelopeCoder, decode_failure, encode_failure
from sllm_actors.transport.errors import HandshakeFailed
from sllm_actors.transport.frame import ASK, FAILURE, REPLY, SEQUENCED, TELL, encode
from sllm_actors.transport.handshake import MAGIC, MESSAGE_LIMIT, Handshake
from sllm_actors.transport.hello import encode_hello

from .kit import CATALOG, SECRET, Recorder, Text, identity, life, node, pair, until
from .test_bad_peers import _closed, rogue
from .test_handshake import HEAD, HEAD_KEY, WORKER, WORKER_KEY

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40)
    | st.sampled_from(["ok", "down", "test.text", "nan", "", [], {}, b"", 0, 1, -1, float("nan"), 2**64 - 1])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=7)
        | st.dictionaries(st.text(max_size=5) | st.binary(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def deep(depth: int) -> bytes:
    """Return lists in lists, as deep as msgpack reads them: deeper than Python can print."""
    return b"\x91" * depth + b"\xc0"


DEEP = deep(1000)
RAW = VALUES.map(msgpack.packb) | st.just(DEEP)
HELLO_FIELDS = sorted(msgpack.unpackb(encode_hello(WORKER)))


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BH", kind, len(body)) + body


@st.composite
def hellos(draw: st.DrawFn) -> bytes:
    """A hello in which some fields are anything."""
    raw = msgpack.unpackb(encode_hello(WORKER))
    for name in draw(st.lists(st.sampled_from(HELLO_FIELDS), max_size=3)):
        raw[name] = draw(VALUES)
    for name in draw(st.lists(st.sampled_from(HELLO_FIELDS), max_size=1)):
        raw.pop(name, None)
    return bytes(msgpack.packb(raw))


def at_stage(dialler: bool, stage: int) -> tuple[Handshake, Handshake]:
    """Return a side that awaits its first, second or third message, and the honest other side."""
    worker, head = (
        Handshake(lambda: WORKER, SECRET, WORKER_KEY, dialler=True),
        Handshake(lambda: HEAD, SECRET, HEAD_KEY, dialler=False),
    )
    hello = worker.start()
    if dialler:
        if stage > 0:
            head.receive(worker.receive(head.receive(hello)))
        return worker, head
    if stage > 0:
        proof = worker.receive(head.receive(hello))
        if stage > 1:
            head.receive(proof)
            worker.receive(head.verdict())
    return head, worker


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.integers(0, 2),
    st.integers(0, 5),
    RAW | hellos(),
    st.sampled_from(["bare", "forged", "proved", "signed"]),
)
def test_a_handshake_message_of_any_shape_at_any_stage_is_taken_or_fails_the_handshake(
    dialler: bool, stage: int, kind: int, body: bytes, proof: str
) -> None:
    side, other = at_stage(dialler, stage)
    if proof == "forged":
        body = bytes(32) + body
    elif proof != "bare":  # by a peer that knows the secret, and holds its key
        who = b"acceptor" if dialler else (b"dialler", b"dialler", b"ready")[stage]
        body = other._prove(who, body) if proof == "proved" else other._sign(who, body)
    start = b"" if side._magic_seen else MAGIC
    with suppress(HandshakeFailed):
        side.receive(start + message(kind, body[:MESSAGE_LIMIT]))
    assert side.rest == b""


CODER = EnvelopeCoder(Codec(CATALOG), (NodeId("here"), life(1)), (NodeId("there"), life(2)), "worker")
METADATA = st.dictionaries(st.sampled_from(["request_id", "call_chain", "extra", "more"]), VALUES, max_size=3)
ENVELOPES = st.tuples(
    st.just(5) | VALUES,
    st.none() | VALUES,
    st.just("test.text") | st.just("test.whereabouts") | VALUES,
    st.just({}) | st.dictionaries(st.sampled_from(["text", "address", "weights"]), VALUES) | VALUES,
    st.none() | VALUES,
    st.none() | METADATA | VALUES,
).map(lambda parts: bytes(msgpack.packb(list(parts))))


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(ENVELOPES | RAW)
def test_an_envelope_of_any_shape_is_read_or_a_bad_envelope(body: bytes) -> None:
    try:
        envelope = CODER.decode(body)
    except BadEnvelope as bad:
        encode_failure(bad.error)  # what its asker gets
        return
    assert envelope.remaining is None or 0 <= envelope.remaining <= 1e9
    chain = envelope.metadata.call_chain
    assert all(isinstance(each, str) for each in (envelope.metadata.request_id, *chain))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(RAW | st.lists(VALUES, min_size=2, max_size=4).map(msgpack.packb))
def test_an_outcome_of_any_shape_is_a_reply_or_an_error(body: bytes) -> None:
    assert isinstance(decode_failure(body), AskError)
    CODER.decode_reply(body)


@pytest.mark.parametrize("remaining", [float("nan"), float("inf"), -1.0, "nan", "1", b"1", True, [], -0.5])
def test_a_time_that_is_no_time_is_a_bad_envelope(remaining: object) -> None:
    with pytest.raises(BadEnvelope):
        CODER.decode(msgpack.packb([5, None, "test.text", {}, remaining, None]))


def test_a_very_long_time_is_cut_to_what_clocks_can_take() -> None:
    body = msgpack.packb([5, None, "test.text", {}, 1e300, None])
    assert CODER.decode(body).remaining == 1e9


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"\x96\x05\xc0" + DEEP + b"\x80\xc0\xc0",
        b"\x96\x05\xc0\xa9test.text\x81\xa4text" + DEEP + b"\xc0\xc0",
        b"\x96\x05\xc0\xa9test.text\x80\xc0\x81\xaarequest_id" + DEEP,
        b"\x96\x05\xc0\xa9test.text\x80\xc0\x81\xaacall_chain\x91" + DEEP,
        b"\x96\x05\xc0\xa9test.text\x80\xc0\x81\xa5extra\x81\xa1x" + DEEP,
    ],
    ids=["name", "field", "request-id", "chain", "extra"],
)
def test_what_is_too_deep_to_be_printed_is_a_bad_envelope(body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        CODER.decode(body)
    assert isinstance(decode_failure(b"\x92" + DEEP + DEEP), AskError)


# -- through sockets ------------------------------------------------------------------------------

BAD_VERDICTS: list[Any] = [
    [[], ""],
    ["ok", b"abc"],
    [{}, {}],
    [["ok"], "x"],
    ["ok", None],
    {"ok": "x", "y": 1},
]


@pytest.mark.anyio
@pytest.mark.parametrize("stage", [0, 1])
async def test_a_refusal_of_any_shape_from_a_stranger_leaves_the_node_alone(stage: int) -> None:
    async with pair() as (left, right):
        for verdict in [*BAD_VERDICTS, msgpack.unpackb(deep(500))]:
            async with await anyio.connect_tcp("127.0.0.1", right.port) as stream:
                start = (
                    Handshake(lambda: WORKER, b"no secret", WORKER_KEY, dialler=True).start()
                    if stage
                    else MAGIC
                )
                await stream.send(start + message(4, msgpack.packb(verdict)))
                assert await _closed(stream)
        assert await left.ask(right.at(1), Text("x")) == Text("x")
        assert right.transport.statistics().refused == len(BAD_VERDICTS) + 1
        assert not right.losses()


@pytest.mark.slow
@pytest.mark.anyio
async def test_whatever_answers_at_a_dialled_address_leaves_the_node_alone() -> None:
    answers = iter([*BAD_VERDICTS] * 100)
    given_out = 0

    async def answer(stream: SocketStream) -> None:
        nonlocal given_out
        await stream.receive()
        given_out += 1
        kind = 4 if given_out % 2 else 1
        await stream.send(MAGIC + message(kind, msgpack.packb(next(answers))))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django
    async with listener, anyio.create_task_group() as tasks, node("left") as left:
        tasks.start_soon(listener.serve, own_connection(answer))
        left.transport.dial("127.0.0.1", port)
        await until(lambda: given_out > 2 * len(BAD_VERDICTS), within=60)
        assert left.refusals
        tasks.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.anyio
async def test_frames_of_any_shape_from_a_member_leave_the_node_and_its_other_links_alone() -> None:
    rng = random.Random(5)
    pool: list[Any] = [
        None,
        True,
        0,
        7,
        -1,
        2**64 - 1,
        1.5,
        float("nan"),
        "",
        "test.text",
        b"",
        b"x" * 65,
        [],
        {},
    ]

    def some(depth: int = 2) -> Any:
        if depth and rng.random() < 0.4:
            return [some(depth - 1) for _ in range(rng.randrange(6))]
        return rng.choice(pool)

    def control() -> bytes:
        kind = rng.choice([MONITOR, DEMONITOR, DOWN, TUNNEL_CALL, LANE_LOST, 0, 9, 129])
        body = msgpack.packb([some() for _ in range(rng.randrange(5))])
        return encode(SEQUENCED, struct.pack("!QB", 1, kind) + bytes(body))

    def data() -> bytes:
        kind = rng.choice([TELL, ASK, REPLY, FAILURE])
        parts = [
            rng.choice([5, some()]),
            None,
            rng.choice(["test.text", some()]),
            rng.choice([{}, some()]),
            some(),
            {},
        ]
        body = msgpack.packb(rng.choice([parts, some()]))
        return encode(kind, (b"" if kind == TELL else struct.pack("!Q", 1)) + bytes(body))

    me = identity("right")
    async with (
        ActorSystem(node=me.node, incarnation=me.incarnation) as system,
        node("right", inbound=system) as right,
        node("left") as left,
    ):
        system.attach(right.transport)
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: right.ups())
        for number in range(12):
            name = f"rogue-{number}"
            async with rogue(right, name) as (control_lane, data_lane):
                with suppress(anyio.BrokenResourceError):
                    await data_lane.send(b"".join(data() for _ in range(50)))
                    await control_lane.send(control())
                    await anyio.sleep(0.02)
        assert isinstance(await left.ask(right.at(99), Text("x")), ActorGone)
        assert [lost for lost in right.losses() if lost.peer.node == "left"] == []


@pytest.mark.anyio
async def test_a_tunnel_call_that_is_no_list_breaks_the_protocol() -> None:
    async with node("right") as right, rogue(right) as (control, _):
        body = msgpack.packb("call me")
        await control.send(encode(SEQUENCED, struct.pack("!QB", 1, TUNNEL_CALL) + body))
        assert await _closed(control)


@pytest.mark.anyio
async def test_a_failure_on_what_came_costs_the_connection_and_not_the_node() -> None:
    class Fragile(Recorder):
        def on_envelope(self, *arguments: Any) -> None:
            if self.got:
                raise KeyError("a bug")
            super().on_envelope(*arguments)

    async with pair(right={"inbound": Fragile()}) as (left, right):
        assert await left.ask(right.at(1), Text("x")) == Text("x")
        error = await left.ask(right.at(1), Text("x"))
        assert isinstance(error, AskError)
        await until(lambda: right.transport.statistics().links[0].epoch == 2)
        assert not right.losses()


@pytest.mark.anyio
async def test_hooks_that_raise_refuse_the_peer_or_change_nothing() -> None:
    def fail(_: object) -> Any:
        raise ZeroDivisionError("a bug")

    async with pair(left={"on_no_link": fail}) as (left, right):
        left.transport._announce._on_peer = right.transport._announce._on_peer = fail
        right.transport._opener._accept = fail
        async with node("other") as other:
            other.transport.dial("127.0.0.1", right.port)
            await until(lambda: other.refusals)
            assert "its own judgement failed" in other.refusals[0][1]
            left.transport.dial("127.0.0.1", 1)
            await until(lambda: left.transport.statistics().hook_failures)
        assert await left.ask(right.at(1), Text("x")) == Text("x")


@pytest.mark.anyio
@pytest.mark.parametrize("side", ["left", "right"])
async def test_a_hook_that_fails_on_a_peer_that_comes_up_is_told_of_it_again(side: str) -> None:
    told: list[object] = []

    def fail_once(event: object) -> None:
        told.append(event)
        if len(told) == 1:
            raise ZeroDivisionError("a bug")

    hooks: dict[str, Any] = {"on_peer": fail_once}
    async with (
        node("right", **hooks if side == "right" else {}) as right,
        node("left", **hooks if side == "left" else {}) as left,
    ):
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: len(told) >= 3, what="it is told again")
        assert [type(event) for event in told[:3]] == [PeerUp, PeerLost, PeerUp]
        failing = left if side == "left" else right
        assert failing.transport.statistics().hook_failures == 1
        await until(lambda: left.transport.peers() and right.transport.peers())
        assert await left.ask(right.at(1), Text("x")) == Text("x")
