"""Who may not come in, and what the person who looks after the refused node reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from attrs import evolve
from tests.strangers import own_connection

from sllm_actors.testing.node_keys import credential_of, key_of
from sllm_actors.transport import (
    ACCEPT,
    Credential,
    Identification,
    Lane,
    NodeHello,
    NoLink,
    Transport,
    Verdict,
)
from sllm_actors.transport.admission import Admission
from sllm_actors.transport.errors import HandshakeFailed
from sllm_actors.transport.handshake import TLS_ALERT, Handshake
from sllm_actors.transport.handshake_io import dial_handshake
from sllm_actors.transport.hello import Code

from .kit import CLUSTER, SECRET, Node, Text, listening_socket, node, until
from .test_bad_peers import _hello

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def stranger(answer: bytes | None) -> AsyncIterator[int]:
    """Listens, and answers whatever comes with the same bytes (None: says nothing at all)."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def handle(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        if answer is None:
            await anyio.sleep_forever()
        elif answer:
            await stream.send(answer)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, own_connection(handle))
        yield listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django
        tasks.cancel_scope.cancel()


async def refusal(here: Node, port: int) -> str:
    here.transport.dial("127.0.0.1", port)
    await until(lambda: here.refusals)
    await anyio.sleep(0.3)
    assert len(here.refusals) == 1, "the same sentence is reported once"
    address, sentence = here.refusals[0]
    assert address == f"127.0.0.1:{port}"
    assert not here.events
    return sentence.replace(address, "HOST:PORT")


async def test_a_wrong_secret_is_named_with_its_remedy() -> None:
    async with node("right", role="head") as right, node("left", secret=b"another") as left:
        assert await refusal(left, right.port) == (
            "the head at HOST:PORT refused this node: "
            "wrong cluster secret (use --secret-file or SLLM_CLUSTER_SECRET with the head's)"
        )
        assert right.transport.statistics().refused >= 1


async def test_another_cluster_is_named() -> None:
    async with node("right", role="head") as right, node("left") as left:
        left.transport._peer_table.identity = evolve(left.transport.identity, cluster="elsewhere")
        assert await refusal(left, right.port) == (
            "the node at HOST:PORT refused this node: it belongs to cluster test-cluster, not to elsewhere"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HOST:PORT answered, but it is not an sllm node"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "HOST:PORT answered, but it is not an sllm node"),
        (
            TLS_ALERT,
            "HOST:PORT answered, but it expects TLS: start this node with --tls-cert, --tls-key and --tls-ca",
        ),
        (b"", "HOST:PORT closed the connection during the handshake"),
        (None, "HOST:PORT did not finish the handshake in time"),
    ],
)
async def test_a_peer_that_is_no_sllm_node_is_named(answer: bytes | None, sentence: str) -> None:
    async with stranger(answer) as port, node("left") as left:
        if answer is None:
            left.transport._opener._settings = evolve(left.transport.settings, handshake_timeout=0.2)
        assert await refusal(left, port) == sentence


async def test_an_address_where_nobody_listens_is_named() -> None:
    raw = listening_socket()
    port = raw.getsockname()[1]
    raw.close()
    async with node("left") as left:
        assert (await refusal(left, port)).startswith(
            "HOST:PORT cannot be reached: connection refused: nothing listens there; check that the node runs"
        )


async def test_a_node_that_dials_itself_is_told_so() -> None:
    async with node("left") as left:
        assert (
            await refusal(left, left.port) == "the worker at HOST:PORT refused this node: it dialled itself"
        )


async def test_the_nodes_own_judgement_refuses_with_its_sentence() -> None:
    def judge(hello: NodeHello) -> Verdict:
        return ACCEPT if hello.role == "worker" else Verdict("only workers may join here")

    async with node("right", role="head", accept=judge) as right:
        async with node("left", role="gateway") as left:
            assert await refusal(left, right.port) == (
                "the head at HOST:PORT refused this node: only workers may join here"
            )
        async with node("left") as left:
            left.transport.dial("127.0.0.1", right.port)
            await until(lambda: left.ups())


async def test_the_judgement_is_told_the_key_that_was_proved_on_every_lane() -> None:
    seen: list[NodeHello] = []

    def judge(hello: NodeHello) -> Verdict:
        seen.append(hello)
        return ACCEPT

    async with node("right", role="head", accept=judge) as right, node("left") as left:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.ups() and right.ups())
        assert {hello.lane for hello in seen} == {"control", "data"}
        assert {hello.public_key for hello in seen} == {key_of("left").public_key}
        assert all(hello.has_credential for hello in seen)
        peer = right.ups()[0].peer
        assert (peer.public_key, peer.has_credential) == (key_of("left").public_key, True)


def known_as(name: str, *, credential: Credential | None = None, key: str = "") -> Identification:
    """How a node identifies itself that says it is ``name``, with what it has of that."""
    return Identification(key_of(key or name), lambda: credential)


async def test_a_node_without_a_credential_links_with_the_head_and_with_nobody_else() -> None:
    async with (
        node("right", role="head") as head,
        node("other", role="gateway") as other,
        node("left", identification=known_as("left")) as left,
    ):
        left.transport.dial("127.0.0.1", head.port)
        await until(lambda: left.ups() and head.ups())
        assert not head.ups()[0].peer.has_credential
        other.transport.dial("127.0.0.1", left.port)
        await until(lambda: other.refusals)
        assert other.refusals[0][1].endswith("that worker has no credential of the head yet")
        assert len(left.ups()) == 1


async def test_a_refusal_for_want_of_a_credential_passes_by_itself() -> None:
    kept: list[Credential] = []
    told: list[NoLink] = []
    waiting = Identification(key_of("left"), lambda: kept[0] if kept else None)
    async with (
        node("left", identification=waiting) as left,
        node("other", role="gateway", on_no_link=told.append) as other,
    ):
        other.transport.dial("127.0.0.1", left.port)
        await until(lambda: told)
        assert not told[0].refused
        kept.append(credential_of(CLUSTER, "left", "worker"))
        await until(lambda: other.ups() and left.ups())


@pytest.mark.parametrize(
    ("thief", "words"),
    [
        (known_as("left", credential=credential_of(CLUSTER, "left", "worker"), key="thief"), "no credential"),
        (
            known_as("left", credential=credential_of(CLUSTER, "left", "worker", head="the thief's own")),
            "another key (head.key)",
        ),
    ],
)
async def test_the_secret_alone_takes_over_no_identity(thief: Identification, words: str) -> None:
    async with node("right", role="gateway") as right, node("left", identification=thief) as left:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.refusals and right.transport.statistics().refused)
        assert words in left.refusals[0][1]
        assert not right.events


async def test_a_node_believes_nobody_who_shows_the_credential_of_another() -> None:
    """It has the secret and the credential's bytes, as anybody who overhears a handshake without TLS."""
    async with node("right") as right:
        stolen = credential_of(CLUSTER, "left", "worker")
        hello = evolve(_hello("left", Lane.CONTROL, 0), credential=stolen.encode())
        for key, public in [("thief", "left"), ("thief", "thief")]:
            hello = evolve(hello, public_key=key_of(public).public_key)
            handshake = Handshake(lambda hello=hello: hello, SECRET, key_of(key), dialler=True)  # type: ignore[misc]
            async with await anyio.connect_tcp("127.0.0.1", right.port) as stream:
                with pytest.raises(HandshakeFailed) as refused:
                    await dial_handshake(stream, handshake, lambda *_: Admission())
            assert refused.value.code is Code.IDENTITY
        assert not right.events


async def test_the_wrong_role_at_an_address_is_refused() -> None:
    async with node("right", role="gateway") as right, node("left") as left:
        left.transport.dial("127.0.0.1", right.port, "head")
        await until(lambda: left.refusals)
        assert left.refusals[0][1].endswith("cannot be linked: it is a gateway, and a head belongs there")


async def test_the_sentence_changes_with_the_reason_and_comes_back_after_success() -> None:
    verdict = Verdict("not yet")
    async with node("right", role="head", accept=lambda _: verdict) as right, node("left") as left:
        left.transport.dial("127.0.0.1", right.port)
        await until(lambda: left.refusals)
        verdict = Verdict("still not")
        await until(lambda: len(left.refusals) == 2)
        verdict = ACCEPT
        await until(lambda: left.ups())
        assert await left.ask(right.at(1), Text("x")) == Text("x")


async def test_the_secret_is_in_no_repr() -> None:
    async with node("left") as left:
        transport: Transport = left.transport
        for each in (
            transport,
            transport._opener,
            transport._peer_table,
            transport.identity,
            transport.statistics(),
        ):
            assert SECRET.decode() not in repr(each)
