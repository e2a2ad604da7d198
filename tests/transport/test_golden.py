"""The bytes of protocol version 1. A change here breaks running clusters: add a version instead."""

from __future__ import annotations

import pytest

from sllm_actors.actors.errors import (
    ActorGone,
    AskError,
    AskTimeout,
    CallCycle,
    MailboxFull,
    PeerDown,
    RemoteFailure,
    UnknownMessage,
)
from sllm_actors.actors.identity import Address, NodeId
from sllm_actors.actors.network import Envelope, Metadata
from sllm_actors.transport.codec import Codec, pack
from sllm_actors.transport.control import DEMONITOR, DOWN, LANE_LOST, MONITOR, TUNNEL_CALL, ControlSession
from sllm_actors.transport.envelope import EnvelopeCoder, decode_failure, encode_failure
from sllm_actors.transport.frame import ASK, GOODBYE, TELL, TUNNEL_REQUEST, WINDOW, encode
from sllm_actors.transport.outbox import Outbox
from sllm_actors.transport.settings import TransportSettings

from .kit import CATALOG, Open, Text, Whereabouts, life
from .test_handshake import shake, sides

LEFT, RIGHT = (NodeId("left"), life(1)), (NodeId("right"), life(2))

HANDSHAKE = [
    (
        "8b534c4c4d0d0a00"
        "0100da8fac6361706162696c697469657392a57061727473ab74756e6e656c2d63616c6ca7636c7573746572a26331a565706f636807"
        "ab696e6361726e6174696f6e920203a46c616e65a464617461a56c696e6b7301ab6d61785f6d657373616765ce00400000a56e656564"
        "7390a46e6f6465a8776f726b65722d31a56e6f6e6365c420444444444444444444444444444444444444444444444444444444444444"
        "4444a870726576696f7573920109a4726f6c65a6776f726b6572a5746f6b656ec40174a876657273696f6e73920101a677696e646f77"
        "ce00040000"
    ),
    (
        "8b534c4c4d0d0a00"
        "0100d18fac6361706162696c697469657392a57061727473ab74756e6e656c2d63616c6ca7636c7573746572a26331a565706f636800"
        "ab696e6361726e6174696f6e920405a46c616e65a464617461a56c696e6b7300ab6d61785f6d657373616765ce00400000a56e656564"
        "7390a46e6f6465a468656164a56e6f6e6365c4204141414141414141414141414141414141414141414141414141414141414141a870"
        "726576696f7573c0a4726f6c65a468656164a5746f6b656ec400a876657273696f6e73920101a677696e646f77ce00040000"
    ),
    "020020d7a7546edb6e0cc60160aaf047c6f6530f04369fd69e30c4518cdf4064acc4b1",
    "0200250f25ee9714ecb424ee204f1873e4b5ca9cf349155346650620d731494de07ebf92a26f6ba0",
    "030025ab80e8232468ee00f21e784776bd3bee26675f8d6d5b36c857e855d09bfa5daa92a26f6ba0",
]


def coder() -> EnvelopeCoder:
    return EnvelopeCoder(Codec(CATALOG), LEFT, RIGHT)


def receiver() -> EnvelopeCoder:
    return EnvelopeCoder(Codec(CATALOG), RIGHT, LEFT)


def test_handshake() -> None:
    assert [each.hex() for each in shake(*sides())] == HANDSHAKE


TELLS = [
    (
        Envelope(Address(*RIGHT, 5), Text("hi")),
        "9605c0a9746573742e7465787481a474657874a26869c0c0",
    ),
    (
        Envelope(
            Address(RIGHT[0], None, "router"),
            Text(""),
            Address(*LEFT, 3),
            1.5,
            Metadata("r", ("left/3",), {"k": "v"}),
        ),
        (
            "96"
            "a6726f75746572"
            "03"
            "a9746573742e74657874"
            "81a474657874a0"
            "cb3ff8000000000000"
            "83"
            "aa726571756573745f6964a172"
            "aa63616c6c5f636861696e91a66c6566742f33"
            "a5657874726181a16ba176"
        ),
    ),
    (
        Envelope(Address(*RIGHT, 5), Whereabouts(Address(*LEFT, 9)), Address(NodeId("third"), life(8), 1)),
        (
            "96"
            "05"
            "94a57468697264080701"
            "b0746573742e7768657265"
            "61626f757473"
            "83a76164647265737394a46c656674010709a77765696768747390a46e6f7465c0"
            "c0"
            "c0"
        ),
    ),
]


@pytest.mark.parametrize(("envelope", "golden"), TELLS)
def test_envelope(envelope: Envelope, golden: str) -> None:
    assert coder().encode(envelope).hex() == golden
    assert receiver().decode(bytes.fromhex(golden)) == envelope


FAILURES: list[tuple[AskError, str]] = [
    (ActorGone("a"), "92aa6163746f725f676f6e65a161"),
    (AskTimeout("a"), "92ab61736b5f74696d656f7574a161"),
    (MailboxFull("a"), "92ac6d61696c626f785f66756c6ca161"),
    (CallCycle("a"), "92aa63616c6c5f6379636c65a161"),
    (UnknownMessage("a"), "92af756e6b6e6f776e5f6d657373616765a161"),
    (PeerDown("n", "a"), "93a9706565725f646f776ea161a16e"),
    (RemoteFailure("E", "a"), "93ae72656d6f74655f6661696c757265a161a145"),
]


@pytest.mark.parametrize(("error", "golden"), FAILURES)
def test_failure(error: AskError, golden: str) -> None:
    assert encode_failure(error).hex() == golden
    back = decode_failure(bytes.fromhex(golden))
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_control_frames() -> None:
    session = ControlSession(10, 10_000)
    assert session.send(MONITOR, pack([5, 11])).hex() == "0000000c1200000000000000010192050b"
    assert session.send(DEMONITOR, pack(["a", 11])).hex() == "0000000d1200000000000000020292a1610b"
    assert session.send(DOWN, pack([11, "x", 1, 300])).hex() == "0000001112000000000000000303940ba17801cd012c"
    assert session.send(TUNNEL_CALL, pack([b"t"])).hex() == "0000000d1200000000000000040491c40174"
    assert session.send(LANE_LOST, pack([3])).hex() == "0000000b120000000000000005809103"
    assert session.heartbeat().hex() == "00000008100000000000000000"
    assert session.receive(bytes.fromhex("00000000000000010192050b")) == (MONITOR, b"\x92\x05\x0b")
    acknowledgement = session.acknowledge()
    assert acknowledgement is not None
    assert acknowledgement.hex() == "00000008110000000000000001"
    assert encode(GOODBYE, b"bye").hex() == "0000000313627965"


def test_data_frames() -> None:
    outbox = Outbox(TransportSettings())
    outbox.put(5, TELL, b"abc")
    outbox.put(5, ASK, bytes(7) + b"\x01" + b"abc")
    assert [each.hex() for each in outbox.take()] == [
        "0000000301616263",
        "0000000b020000000000000001616263",
    ]
    assert encode(WINDOW, (65536).to_bytes(4, "big")).hex() == "000000040600010000"
    assert encode(TUNNEL_REQUEST, pack(Codec(CATALOG).to_wire(Open("r")))).hex() == (
        "000000162092a9746573742e6f70656e81a77265706c696361a172"
    )


def test_parts() -> None:
    outbox = Outbox(TransportSettings())
    outbox.put(5, TELL, b"x" * 70_000)
    written = b"".join(outbox.take())
    first, last = written[:65_536], written[65_536:]
    assert first[:20].hex() == "0000fffb05000000010101000111707878787878"
    assert last[:14].hex() == "0000118405000000010278787878"
