"""The handshake: tampering, replay, downgrade, keys that are not held, and any split of the bytes."""

from __future__ import annotations

from itertools import pairwise

import msgpack
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_actors.actors.identity import Incarnation, NodeId
from sllm_actors.testing.node_keys import credential_of, key_of
from sllm_actors.transport.errors import HandshakeFailed
from sllm_actors.transport.handshake import MAGIC, MESSAGE_LIMIT, TLS_ALERT, Handshake
from sllm_actors.transport.hello import MANDATORY, Code, Hello, Lane, decode_hello, encode_hello
from sllm_actors.transport.key_pair import KeyPair

SECRET = b"the cluster's secret"
HEAD_KEY, WORKER_KEY, OTHER_KEY = key_of("head"), key_of("worker-1"), key_of("other")
HEAD = Hello(
    cluster="c1",
    node=NodeId("head"),
    role="head",
    incarnation=Incarnation(4, 5),
    lane=Lane.CONTROL,
    nonce=b"A" * 32,
    public_key=HEAD_KEY.public_key,
    credential=credential_of("c1", "head", "head").encode(),
)
WORKER = Hello(
    cluster="c1",
    node=NodeId("worker-1"),
    role="worker",
    incarnation=Incarnation(2, 3),
    previous=Incarnation(1, 9),
    lane=Lane.DATA,
    nonce=b"D" * 32,
    public_key=WORKER_KEY.public_key,
    credential=credential_of("c1", "worker-1", "worker").encode(),
    links=1,
    epoch=7,
)


def sides(
    worker: Hello = WORKER,
    head: Hello = HEAD,
    *,
    secrets: tuple[bytes, bytes] = (SECRET, SECRET),
    keys: tuple[KeyPair, KeyPair] = (WORKER_KEY, HEAD_KEY),
) -> tuple[Handshake, Handshake]:
    return (
        Handshake(lambda: worker, secrets[0], keys[0], dialler=True),
        Handshake(lambda: head, secrets[1], keys[1], dialler=False),
    )


def shake(dialler: Handshake, acceptor: Handshake) -> list[bytes]:
    """Carry a handshake through to the end, and return what each side said in turn."""
    said = [dialler.start()]
    said.append(acceptor.receive(said[-1]))
    said.append(dialler.receive(said[-1]))
    assert acceptor.receive(said[-1]) == b""
    said.append(acceptor.verdict())
    assert dialler.receive(said[-1]) == b""
    said.append(dialler.verdict())
    assert acceptor.receive(said[-1]) == b""
    return said


def failure(work: object, data: bytes) -> HandshakeFailed:
    with pytest.raises(HandshakeFailed) as caught:
        work(data)  # type: ignore[operator]
    return caught.value


def test_both_sides_learn_of_each_other() -> None:
    dialler, acceptor = sides()
    assert dialler.peer is None
    assert dialler.capabilities == frozenset()
    shake(dialler, acceptor)
    assert acceptor.proven is not None
    assert acceptor.proven.hello == WORKER
    assert dialler.proven is not None
    assert dialler.proven.hello == evolve(HEAD, lane=Lane.DATA)
    assert acceptor.ready is not None
    assert acceptor.ready.code is Code.OK
    assert dialler.capabilities == acceptor.capabilities == {"parts", "tunnel-call"}


def test_what_follows_the_handshake_is_kept_for_the_lane() -> None:
    dialler, acceptor = sides()
    acceptor_says = acceptor.receive(dialler.start())
    acceptor.receive(dialler.receive(acceptor_says))
    dialler.receive(acceptor.verdict())
    acceptor.receive(dialler.verdict() + b"first frames")
    assert acceptor.rest == b"first frames"
    assert dialler.rest == b""


@settings(max_examples=30)
@given(st.data())
def test_any_split_of_the_bytes_gives_the_same(data: st.DataObject) -> None:
    dialler, acceptor = sides()

    def feed(side: Handshake, message: bytes) -> bytes:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=6)))
        edges = [0, *cuts, len(message)]
        return b"".join(side.receive(message[a:b]) for a, b in pairwise(edges))

    proof = feed(dialler, feed(acceptor, dialler.start()))
    feed(acceptor, proof)
    feed(dialler, acceptor.verdict())
    feed(acceptor, dialler.verdict())
    assert acceptor.ready is not None


@settings(max_examples=60)
@given(st.integers(0, 3), st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_anywhere_fails_the_handshake(turn: int, where: int, mask: int) -> None:
    dialler, acceptor = sides()

    def spoil(number: int, message: bytes) -> bytes:
        if number != turn:
            return message
        at = where % len(message)
        return message[:at] + bytes([message[at] ^ mask]) + message[at + 1 :]

    with pytest.raises(HandshakeFailed):  # noqa: PT012 - it may fail at any step
        answer = acceptor.receive(spoil(0, dialler.start()))
        proof = dialler.receive(spoil(1, answer))
        acceptor.receive(spoil(2, proof))
        if acceptor.proven is not None:
            dialler.receive(spoil(3, acceptor.verdict()))
        if acceptor.proven is None or dialler.proven is None:
            raise HandshakeFailed(Code.BROKEN, "it waits for bytes that never come, until its deadline")


def test_a_wrong_secret_is_refused_by_the_acceptor_with_a_remedy() -> None:
    dialler, acceptor = sides(secrets=(b"wrong", SECRET))
    proof = dialler.receive(acceptor.receive(dialler.start()))
    refused = failure(acceptor.receive, proof)
    assert refused.code is Code.SECRET
    told = failure(dialler.receive, acceptor.last_words)
    assert told.code is Code.SECRET
    assert "--secret-file" in told.reason
    assert acceptor.proven is None


def test_an_acceptor_without_the_secret_is_found_out() -> None:
    dialler, acceptor = sides()
    proof = dialler.receive(acceptor.receive(dialler.start()))
    acceptor.receive(proof)
    genuine = acceptor.verdict()
    forged = genuine[:3] + bytes(32) + genuine[35:]
    told = failure(dialler.receive, forged)
    assert "does not know this cluster's secret" in told.reason
    assert dialler.last_words == b""


def test_a_proof_reflected_or_replayed_proves_nothing() -> None:
    dialler, acceptor = sides()
    proof = dialler.receive(acceptor.receive(dialler.start()))
    judged = msgpack.packb(["ok", ""])
    body = proof[3:] + judged
    reflected = failure(dialler.receive, b"\x02" + len(body).to_bytes(2, "big") + body)
    assert reflected.code is Code.SECRET
    again = Handshake(lambda: evolve(HEAD, nonce=b"B" * 32), SECRET, HEAD_KEY, dialler=False)
    again.receive(Handshake(lambda: WORKER, SECRET, WORKER_KEY, dialler=True).start())
    assert failure(again.receive, proof).code is Code.SECRET


@pytest.mark.parametrize(
    ("worker", "code", "words"),
    [
        (evolve(WORKER, cluster="c2"), Code.CLUSTER, "it belongs to cluster c1, not to c2"),
        (
            evolve(WORKER, versions=(3, 4)),
            Code.PROTOCOL,
            "it speaks protocol 2, this side protocols 3 to 4: upgrade both to the same sllm",
        ),
        (evolve(WORKER, needs=frozenset({"zstd"})), Code.CAPABILITY, "both sides must support zstd"),
        (evolve(WORKER, capabilities=frozenset({"parts"})), Code.CAPABILITY, "must support tunnel-call"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_proof(worker: Hello, code: Code, words: str) -> None:
    dialler, acceptor = sides(worker)
    assert failure(acceptor.receive, dialler.start()).code is code
    told = failure(dialler.receive, acceptor.last_words)
    assert told.code is code
    assert words in told.reason


def test_a_version_in_the_range_of_both_is_enough() -> None:
    dialler, acceptor = sides(evolve(WORKER, versions=(0, 5)))
    shake(dialler, acceptor)


def test_capabilities_are_intersected() -> None:
    dialler, acceptor = sides(evolve(WORKER, capabilities=MANDATORY | {"zstd"}))
    shake(dialler, acceptor)
    assert dialler.capabilities == acceptor.capabilities == MANDATORY


def test_an_answer_for_another_lane_is_refused_by_the_dialler() -> None:
    dialler, other = sides()
    dialler.start()
    tunnel = Handshake(lambda: evolve(WORKER, lane=Lane.TUNNEL), SECRET, WORKER_KEY, dialler=True)
    answer = other.receive(tunnel.start())
    assert failure(dialler.receive, answer).code is Code.BROKEN


@pytest.mark.parametrize("code", [Code.DOWN, Code.REFUSED])
def test_the_acceptors_verdict_comes_with_its_proof(code: Code) -> None:
    dialler, acceptor = sides()
    acceptor.receive(dialler.receive(acceptor.receive(dialler.start())))
    dialler.receive(acceptor.verdict(code, "because\x1b[31m"))
    assert dialler.proven is not None
    assert (dialler.proven.code, dialler.proven.reason) == (code, "because?[31m")
    with pytest.raises(RuntimeError):
        dialler.verdict()


def test_the_diallers_verdict_comes_with_its_proof() -> None:
    dialler, acceptor = sides()
    acceptor.receive(dialler.receive(acceptor.receive(dialler.start())))
    dialler.receive(acceptor.verdict())
    said = dialler.verdict(Code.LINKED, "again")
    forged = said[:3] + bytes(32) + said[35:]
    acceptor.receive(said)
    assert acceptor.ready is not None
    assert (acceptor.ready.code, acceptor.ready.reason) == (Code.LINKED, "again")
    dialler, acceptor = sides()
    acceptor.receive(dialler.receive(acceptor.receive(dialler.start())))
    dialler.receive(acceptor.verdict())
    assert failure(acceptor.receive, forged).code is Code.SECRET


def test_a_code_of_a_later_version_reads_as_a_plain_refusal() -> None:
    dialler, _ = sides()
    dialler.start()
    body = msgpack.packb(["full-moon", "not tonight", "more"])
    told = failure(dialler.receive, MAGIC + b"\x04" + len(body).to_bytes(2, "big") + body)
    assert (told.code, told.reason) == (Code.REFUSED, "not tonight")


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", msgpack.packb([[], ""]), msgpack.packb(["ok", b"abc"]), msgpack.packb(7)]
)
def test_a_verdict_that_cannot_be_read_is_broken(body: bytes) -> None:
    dialler, _ = sides()
    dialler.start()
    told = failure(dialler.receive, MAGIC + b"\x04" + len(body).to_bytes(2, "big") + body)
    assert (told.code, told.reason) == (Code.BROKEN, "its verdict cannot be read")


def test_a_node_of_the_release_before_keys_is_told_to_upgrade_and_how_far() -> None:
    old = msgpack.unpackb(encode_hello(evolve(WORKER, versions=(1, 1))))
    del old["public_key"], old["credential"]
    dialler, acceptor = sides()
    dialler.start()
    body = msgpack.packb(old)
    refused = failure(acceptor.receive, MAGIC + b"\x01" + len(body).to_bytes(2, "big") + body)
    told = failure(dialler.receive, acceptor.last_words)
    assert refused.code is told.code is Code.PROTOCOL
    assert told.reason == (
        "it speaks protocol 2, this side protocol 1 (that of sllm 0.1): upgrade both to the same sllm"
    )


def test_a_hello_without_a_key_is_broken() -> None:
    raw = msgpack.unpackb(encode_hello(WORKER))
    del raw["public_key"]
    dialler, acceptor = sides()
    dialler.start()
    body = msgpack.packb(raw)
    refused = failure(acceptor.receive, MAGIC + b"\x01" + len(body).to_bytes(2, "big") + body)
    told = failure(dialler.receive, acceptor.last_words)
    assert refused.code is told.code is Code.BROKEN
    assert told.reason == "its hello names no key"


def test_whoever_has_the_secret_but_not_the_diallers_key_is_refused() -> None:
    dialler, acceptor = sides(keys=(OTHER_KEY, HEAD_KEY))
    proof = dialler.receive(acceptor.receive(dialler.start()))
    assert failure(acceptor.receive, proof).code is Code.IDENTITY
    told = failure(dialler.receive, acceptor.last_words)
    assert (told.code, told.reason) == (Code.IDENTITY, "it does not hold the key that it names")
    assert acceptor.proven is None


def test_an_acceptor_that_has_the_secret_but_not_its_key_is_found_out() -> None:
    dialler, acceptor = sides(keys=(WORKER_KEY, OTHER_KEY))
    acceptor.receive(dialler.receive(acceptor.receive(dialler.start())))
    told = failure(dialler.receive, acceptor.verdict())
    assert (told.code, told.reason) == (Code.IDENTITY, "does not hold the key that it names")
    assert told.final
    assert dialler.proven is None


def test_a_whole_handshake_said_again_by_another_proves_nothing() -> None:
    """Whoever overheard it, and even has the secret, cannot use the node's signature in a later one."""
    said = shake(*sides())
    later = Handshake(lambda: evolve(HEAD, nonce=b"B" * 32), SECRET, HEAD_KEY, dialler=False)
    later.receive(said[0])
    signature = said[2][3 + 32 :]
    body = later._prove(b"dialler", signature)
    assert failure(later.receive, b"\x02" + len(body).to_bytes(2, "big") + body).code is Code.IDENTITY


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_another_length_proves_nothing(length: int) -> None:
    dialler, acceptor = sides()
    acceptor.receive(dialler.start())
    body = acceptor._prove(b"dialler", bytes(length))
    assert failure(acceptor.receive, b"\x02" + len(body).to_bytes(2, "big") + body).code is Code.IDENTITY


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"GET / HTTP/1.1", "is not an sllm node"),
        (b"\x8bSLLX", "is not an sllm node"),
    ],
)
def test_a_foreign_start_is_named_at_its_first_bytes(start: bytes, words: str) -> None:
    _, acceptor = sides()
    told = failure(acceptor.receive, start)
    assert words in told.reason
    assert told.final
    assert acceptor.last_words == b""


@pytest.mark.parametrize("start", [b"\x16\x03\x01\x02", b"\x15\x03\x03\x00"])
def test_tls_where_there_is_none_is_named_on_both_sides(start: bytes) -> None:
    dialler, acceptor = sides()
    dialler.start()
    assert failure(dialler.receive, start).reason == (
        "answered, but it expects TLS: start this node with --tls-cert, --tls-key and --tls-ca"
    )
    assert failure(acceptor.receive, start).reason == "it uses TLS, and this node does not"
    assert acceptor.last_words == TLS_ALERT


@pytest.mark.parametrize(
    "message",
    [
        b"\x01" + (MESSAGE_LIMIT + 1).to_bytes(2, "big"),
        b"\x02\x00\x00",
        b"\x03\x00\x00",
        b"\x04\x00\x01\xc0",
        b"\x04\x00\x03\x92\x01\x02",
        b"\x01\x00\x01\xc1",
        b"\x01\x00\x01\xc0",
    ],
)
def test_nonsense_after_the_magic_is_broken(message: bytes) -> None:
    _, acceptor = sides()
    assert failure(acceptor.receive, MAGIC + message).code is Code.BROKEN


def test_a_verdict_is_said_once_and_in_turn() -> None:
    _, acceptor = sides()
    with pytest.raises(RuntimeError, match="once"):
        acceptor.verdict()


def test_a_hello_survives_the_wire_and_later_fields_are_ignored() -> None:
    assert decode_hello(encode_hello(WORKER)) == WORKER
    assert decode_hello(encode_hello(HEAD)) == HEAD
    raw = msgpack.unpackb(encode_hello(WORKER))
    raw["moon phase"] = "full"
    assert decode_hello(msgpack.packb(raw)) == WORKER
    required = ("cluster", "node", "role", "incarnation", "lane", "nonce", "versions")
    least = decode_hello(msgpack.packb({name: raw[name] for name in required}))
    assert least == evolve(
        Hello(
            cluster="c1",
            node=NodeId("worker-1"),
            role="worker",
            incarnation=Incarnation(2, 3),
            lane=Lane.DATA,
            nonce=b"D" * 32,
        )
    )


@pytest.mark.parametrize(
    "change",
    [
        {"node": ""},
        {"node": "x" * 256},
        {"node": "a\nb"},
        {"node": 7},
        {"role": None},
        {"incarnation": [1]},
        {"incarnation": [1, -1]},
        {"incarnation": [True, 1]},
        {"incarnation": [1 << 63, 1.5]},
        {"lane": "bulk"},
        {"nonce": b"short"},
        {"nonce": "D" * 32},
        {"versions": [1]},
        {"versions": 1},
        {"public_key": b"x" * 31},
        {"public_key": b""},
        {"credential": b"x" * 4097},
        {"credential": None},
        {"window": 5},
        {"max_message": 10},
        {"links": "many"},
        {"capabilities": [1]},
        {"previous": 3},
    ],
)
def test_a_hello_with_a_wrong_field_is_broken(change: dict[str, object]) -> None:
    raw = {**msgpack.unpackb(encode_hello(WORKER)), **change}
    with pytest.raises(HandshakeFailed, match="hello"):
        decode_hello(msgpack.packb(raw))


@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for side in sides():
        side.start()
        try:
            side.receive(MAGIC + data)
        except HandshakeFailed:
            continue


def test_the_secret_and_nonces_are_in_no_repr() -> None:
    dialler, acceptor = sides()
    shake(dialler, acceptor)
    for each in (dialler, acceptor, dialler.proven, acceptor.peer):
        assert "secret" not in repr(each)
        assert "DDDD" not in repr(each)
