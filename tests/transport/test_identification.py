"""Whom a node believes: each credential that is not what it should be, seen from each end. No network."""

from __future__ import annotations

import msgpack
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.actors.identity import Incarnation, NodeId
from sllm_actors.testing.node_keys import credential_of, identification_of, key_of
from sllm_actors.transport.credential import CREDENTIAL_LIMIT, Credential, decode_credential
from sllm_actors.transport.hello import Code, Hello, Lane
from sllm_actors.transport.identification import Identification
from sllm_actors.transport.key_pair import KeyPair, is_signed_by
from sllm_actors.transport.peer import NodeIdentity


def hello(node: str, role: str, *, credential: Credential | None = None, key: str = "") -> Hello:
    shown = credential_of("c", node, role) if credential is None else credential
    return Hello(
        cluster="c",
        node=NodeId(node),
        role=role,
        incarnation=Incarnation(1, 1),
        lane=Lane.CONTROL,
        nonce=b"n" * 32,
        public_key=key_of(key or node).public_key,
        credential=shown.encode(),
    )


WORKER, HEAD, GATEWAY = hello("w", "worker"), hello("h", "head"), hello("g", "gateway")
JOINED = identification_of("c", "w", "worker")
JOINING = Identification(key_of("w"))
NEW_HEAD = hello("h", "head", credential=credential_of("c", "h", "head", head="a new head.key"))


def test_those_that_joined_the_same_head_believe_each_other() -> None:
    assert JOINED.judge(WORKER, HEAD, dialled=True).code is Code.OK
    assert JOINED.judge(WORKER, GATEWAY, dialled=False).code is Code.OK
    assert identification_of("c", "h", "head").judge(HEAD, WORKER, dialled=False).code is Code.OK


FORGED = evolve(credential_of("c", "g", "gateway"), signature=bytes(64))
SELF_MADE = credential_of("c", "g", "gateway", head="the thief's own")


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        (FORGED, "not signed by the head whose key it names"),
        (evolve(SELF_MADE, head_key=key_of("head.key").public_key), "not signed by the head whose key"),
        (SELF_MADE, "that gateway joined a head with another key"),
        (credential_of("elsewhere", "g", "gateway"), "is of cluster elsewhere, not of c"),
        (credential_of("c", "g2", "gateway"), "is that of g2, not of g"),
        (credential_of("c", "g", "worker"), "is that of a worker, and it calls itself a gateway"),
    ],
)
def test_a_credential_that_is_not_the_peers_is_refused_with_its_reason(
    credential: Credential, words: str
) -> None:
    judged = JOINED.judge(WORKER, hello("g", "gateway", credential=credential), dialled=False)
    assert judged.code is Code.IDENTITY
    assert words in judged.reason


def test_the_credential_of_another_nodes_key_is_refused_with_a_remedy() -> None:
    judged = JOINED.judge(WORKER, hello("g", "gateway", key="thief"), dialled=False)
    assert judged.code is Code.IDENTITY
    assert 'put its file "node.key" back beside node.json' in judged.reason


def test_bytes_that_are_no_credential_are_refused() -> None:
    judged = JOINED.judge(WORKER, evolve(GATEWAY, credential=b"what"), dialled=False)
    assert (judged.code, judged.reason) == (Code.IDENTITY, "its credential cannot be read")


def test_a_head_with_another_key_is_refused_by_those_that_joined_and_names_the_flag() -> None:
    judged = JOINED.judge(WORKER, NEW_HEAD, dialled=True)
    assert judged.code is Code.IDENTITY
    assert judged.reason == (
        "it has another key (head.key) than the head that this node joined: put that file back, "
        "or if it is lost, start such nodes once with --trust-new-head"
    )


def test_a_head_with_a_new_key_refuses_those_that_know_the_old_one() -> None:
    new = Identification(key_of("h"), lambda: decode_credential(NEW_HEAD.credential))
    judged = new.judge(NEW_HEAD, WORKER, dialled=False)
    assert judged.code is Code.IDENTITY
    assert "--trust-new-head" in judged.reason


def test_who_joins_may_link_with_a_head_and_with_nobody_else() -> None:
    bare = evolve(WORKER, credential=b"")
    assert JOINING.judge(bare, HEAD, dialled=True).code is Code.OK
    assert identification_of("c", "h", "head").judge(HEAD, bare, dialled=False).code is Code.OK
    for judged, who in [
        (JOINING.judge(bare, GATEWAY, dialled=False), "this worker"),
        (identification_of("c", "g", "gateway").judge(GATEWAY, bare, dialled=True), "that worker"),
    ]:
        assert (judged.code, judged.reason) == (Code.JOINING, f"{who} has no credential of the head yet")


@pytest.mark.parametrize(
    "credential",
    [
        FORGED,
        credential_of("c", "g", "gateway"),
        evolve(credential_of("c", "h", "head"), signature=bytes(64)),
    ],
)
def test_who_joins_believes_no_head_whose_credential_is_not_good(credential: Credential) -> None:
    judged = JOINING.judge(
        evolve(WORKER, credential=b""), hello("h", "head", credential=credential), dialled=True
    )
    assert judged.code is Code.IDENTITY


def test_who_joins_does_not_believe_a_head_without_a_credential() -> None:
    bare = evolve(WORKER, credential=b"")
    assert JOINING.judge(bare, evolve(HEAD, credential=b""), dialled=True).code is Code.JOINING


def test_a_credential_is_shown_only_by_the_node_that_it_fits() -> None:
    me = NodeIdentity(NodeId("w"), "worker", Incarnation(1, 1), "c")
    assert JOINED.shown(me) == WORKER.credential
    assert JOINING.shown(me) == b""
    for other in (
        evolve(me, node=NodeId("w2")),
        evolve(me, role="gateway"),
        evolve(me, cluster="elsewhere"),
    ):
        assert JOINED.shown(other) == b""
    assert Identification(key_of("a new key"), JOINED.kept).shown(me) == b""


def test_who_may_not_dial_is_refused_at_both_ends() -> None:
    strict = evolve(JOINED, may_dial=lambda dialler, acceptor: (dialler, acceptor) == ("worker", "head"))
    assert strict.judge(WORKER, HEAD, dialled=True).code is Code.OK
    for judged, words in [
        (strict.judge(WORKER, GATEWAY, dialled=True), "a worker never dials a gateway"),
        (strict.judge(WORKER, HEAD, dialled=False), "a head never dials a worker"),
    ]:
        assert (judged.code, judged.reason) == (Code.IDENTITY, words)


def test_another_role_than_the_one_that_belongs_to_an_address_is_refused() -> None:
    assert JOINED.judge(WORKER, HEAD, dialled=True, expected="head").code is Code.OK
    judged = JOINED.judge(WORKER, GATEWAY, dialled=True, expected="head")
    assert (judged.code, judged.reason) == (Code.IDENTITY, "it is a gateway, and a head belongs there")


# -- credentials and keys ---------------------------------------------------------------------------

GOOD = credential_of("c", "w", "worker")


def test_a_credential_survives_the_wire_and_stays_genuine() -> None:
    assert decode_credential(GOOD.encode()) == GOOD
    assert GOOD.is_genuine
    assert "signature" not in repr(GOOD)


@given(st.integers(0, len(GOOD.encode()) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_makes_a_credential_unreadable_or_false(at: int, mask: int) -> None:
    raw = bytearray(GOOD.encode())
    raw[at] ^= mask
    try:
        changed = decode_credential(bytes(raw))
    except ValueError:
        return
    assert not changed.is_genuine


@given(st.binary(max_size=200))
def test_random_bytes_are_no_credential(data: bytes) -> None:
    with pytest.raises(ValueError, match="no credential"):
        decode_credential(data)


STATEMENT = msgpack.unpackb(GOOD.statement())


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (CREDENTIAL_LIMIT + 1),
        GOOD.encode() + b"\x00",
        msgpack.packb([GOOD.statement(), GOOD.signature, 1]),
        msgpack.packb([GOOD.statement(), GOOD.signature[:63]]),
        msgpack.packb([GOOD.statement(), "s" * 64]),
        *(
            msgpack.packb([msgpack.packb([*STATEMENT[:at], value, *STATEMENT[at + 1 :]]), GOOD.signature])
            for at, value in [
                (0, 2),
                (0, True),
                (1, ""),
                (2, "w\n"),
                (3, "x" * 256),
                (3, 7),
                (4, b""),
                (5, None),
            ]
        ),
        msgpack.packb([msgpack.packb([*STATEMENT, "more"]), GOOD.signature]),
        msgpack.packb([msgpack.packb([1]), GOOD.signature]),
    ],
)
def test_a_credential_is_read_strictly(data: bytes) -> None:
    with pytest.raises(ValueError, match="credential"):
        decode_credential(data)


def test_a_key_survives_its_file_and_signs_the_same() -> None:
    key = key_of("w")
    again = KeyPair.from_pem(key.to_pem())
    assert again.public_key == key.public_key
    assert again.sign(b"x") == key.sign(b"x")
    assert is_signed_by(key.public_key, key.sign(b"x"), b"x")
    assert not is_signed_by(key.public_key, key.sign(b"x"), b"y")
    assert not is_signed_by(key_of("other").public_key, key.sign(b"x"), b"x")
    assert not is_signed_by(b"short", key.sign(b"x"), b"x")
    assert key.to_pem().decode().splitlines()[1] not in repr(key)


RSA_LIKE = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("text", [b"", b"nonsense", RSA_LIKE, key_of("w").to_pem()[:60]])
def test_what_is_no_private_key_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="holds no private key"):
        KeyPair.from_pem(text)


def test_a_private_key_of_another_kind_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="another kind than Ed25519"):
        KeyPair.from_pem(other)
