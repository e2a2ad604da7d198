"""The bytes of protocol version 2, as they are now.

Recorded bytes that later versions have to take begin with the first release after it scales on demand. Until
then a change here is a change of version 2 itself, and no cluster runs two versions of sllm.
"""

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
from sllm_actors.transport.errors import NodeFull, TunnelRefused
from sllm_actors.transport.frame import ASK, GOODBYE, TELL, WINDOW, encode
from sllm_actors.transport.outbox import Outbox
from sllm_actors.transport.settings import TransportSettings
from sllm_actors.transport.streams import wire

from .kit import CATALOG, Open, Text, Whereabouts, life
from .test_handshake import shake, sides

LEFT, RIGHT = (NodeId("left"), life(1)), (NodeId("right"), life(2))

HANDSHAKE = [
    (
        "8b534c4c4d0d0a00"
        "0101abde0010ac6361706162696c697469657392a57061727473ab74756e6e656c2d63616c6ca7636c7573746572a26331aa63726564"
        "656e7469616cc49e92c4599601a26331a8776f726b65722d31a6776f726b6572c420070c0936b5eb4dc2b4eea1e5925d344a974f5059"
        "a3455b06cd5a259cc53e0479c420a12468961298588e1af612ff0a8dc829361760bf98f92710740b32eee0c9c6bfc440a25fe376d38a"
        "374f23b12631e9c4906d84878370a0c82d77954e22eee4d245cfcfa5e5cadfa080fe6bba8bcb42d5a12d626b477ef3b6944620a7ca63"
        "7e270a0ea565706f636807ab696e6361726e6174696f6e920203a46c616e65a464617461a56c696e6b7301ab6d61785f6d6573736167"
        "65ce00400000a56e6565647390a46e6f6465a8776f726b65722d31a56e6f6e6365c42044444444444444444444444444444444444444"
        "44444444444444444444444444a870726576696f7573920109aa7075626c69635f6b6579c420070c0936b5eb4dc2b4eea1e5925d344a"
        "974f5059a3455b06cd5a259cc53e0479a4726f6c65a6776f726b6572a876657273696f6e73920202a677696e646f77ce00040000"
    ),
    (
        "8b534c4c4d0d0a00"
        "01019dde0010ac6361706162696c697469657392a57061727473ab74756e6e656c2d63616c6ca7636c7573746572a26331aa63726564"
        "656e7469616cc49892c4539601a26331a468656164a468656164c42083cb3f5b8930bf294bd68ee30f746e931a4e450b822a772ec619"
        "f65ae73f7e2dc420a12468961298588e1af612ff0a8dc829361760bf98f92710740b32eee0c9c6bfc440d9079cce4c0668913da6f9a5"
        "6ffed54621e2c972267137b88821e07e0cc0303f03f5ed91506c40cfec656ef1b347c60081644e6e245471d9710e7cf3a70ff90ca565"
        "706f636800ab696e6361726e6174696f6e920405a46c616e65a464617461a56c696e6b7300ab6d61785f6d657373616765ce00400000"
        "a56e6565647390a46e6f6465a468656164a56e6f6e6365c4204141414141414141414141414141414141414141414141414141414141"
        "414141a870726576696f7573c0aa7075626c69635f6b6579c42083cb3f5b8930bf294bd68ee30f746e931a4e450b822a772ec619f65a"
        "e73f7e2da4726f6c65a468656164a876657273696f6e73920202a677696e646f77ce00040000"
    ),
    (
        "020060646fc46a4ec119bf8bca504191baa99c5c33af41f1127d6d864c5fbff93277a4d969c249d0c3f8b8ad30eb58830809a400087b"
        "f4feb6c21bb26382ecc8df304e18df503f987fb44ec46d209978c3d3524573f2713465ffb925e5356b93c53e06"
    ),
    (
        "0200653dd715311913641ac9b05a72fcd0a6a86bda21c306a457c0fa3248c55b3439e46fe44077cdb12a4834c6f13a22f435efdfa727"
        "dc6b7587b585ae9d94ec666326e80fb7d5e4a78588efacb77e1cd2e3e837c363094d536f4035573e02f573690892a26f6ba0"
    ),
    "030025a0a75fc6c6da67edae9fc1c9a98a94932e6caed9928d7787448577b6a7f2c7e792a26f6ba0",
]


def coder() -> EnvelopeCoder:
    return EnvelopeCoder(Codec(CATALOG), LEFT, RIGHT, "worker")


def receiver() -> EnvelopeCoder:
    return EnvelopeCoder(Codec(CATALOG), RIGHT, LEFT, "worker")


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
            "80"
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
            "81a76164647265737394a46c656674010709"
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
    assert session.send(TUNNEL_CALL, pack([])).hex() == "0000000a12000000000000000404" + "90"
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


def test_parts() -> None:
    outbox = Outbox(TransportSettings())
    outbox.put(5, TELL, b"x" * 70_000)
    written = b"".join(outbox.take())
    first, last = written[:65_536], written[65_536:]
    assert first[:20].hex() == "0000fffb05000000010101000111707878787878"
    assert last[:14].hex() == "0000118405000000010278787878"


def test_stream_frames() -> None:
    request = pack(Codec(CATALOG).to_wire(Open("r")))
    assert [
        wire.frame(wire.OPEN, 1, request).hex(),
        wire.frame(wire.ACCEPT, 1).hex(),
        wire.refusal(2, TunnelRefused("no")).hex(),
        wire.refusal(2, NodeFull("full")).hex(),
        wire.frame(wire.DATA, 3, b"abc").hex(),
        wire.head(wire.DATA, 3, 16384).hex(),
        wire.credit(3, 32768).hex(),
        wire.credit(wire.LANE, 65536).hex(),
        wire.frame(wire.END, 2**40 + 1).hex(),
        wire.reset(3, "why").hex(),
    ] == [
        "0000001e20000000000000000192a9746573742e6f70656e81a77265706c696361a172",
        "00000008210000000000000001",
        "0000000b220000000000000002006e6f",
        "0000000d2200000000000000020166756c6c",
        "0000000b230000000000000003616263",
        "00004008230000000000000003",
        "0000000c24000000000000000300008000",
        "0000000c24000000000000000000010000",
        "00000008250000010000000001",
        "0000000b260000000000000003776879",
    ]
