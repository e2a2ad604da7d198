"""Who may not come in, and what the person who looks after the refused node reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from attrs import evolve

from sllm_actors.transport import ACCEPT, NodeHello, Transport, Verdict, credential_hash
from sllm_actors.transport.handshake import TLS_ALERT

from .kit import SECRET, Node, Text, listening_socket, node, until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def stranger(answer: bytes | None) -> AsyncIterator[int]:
    """Listens, and answers whatever comes with the same bytes (None: says nothing at all)."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if answer is None:
                await anyio.sleep_forever()
            elif answer:
                await stream.send(answer)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
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
        assert await refusal(left, port) == "HOST:PORT cannot be reached: connection refused"


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


async def test_a_credential_is_proved_without_being_shown() -> None:
    seen: list[NodeHello] = []

    def judge(hello: NodeHello) -> Verdict:
        seen.append(hello)
        return (
            ACCEPT
            if hello.proves(credential_hash(b"issued to left"))
            else Verdict("it is not the node that joined as left")
        )

    async with node("right", role="head", accept=judge) as right:
        async with node("left", credential=lambda: b"issued to left") as left:
            left.transport.dial("127.0.0.1", right.port)
            await until(lambda: left.ups() and right.ups())
            assert {hello.lane for hello in seen} == {"control", "data"}
            assert "issued" not in repr(seen)
        for credential in (b"", b"issued to someone else"):
            async with node("left", counter=2, credential=lambda credential=credential: credential) as thief:
                assert "it is not the node that joined as left" in await refusal(thief, right.port)
        assert [hello.has_credential for hello in seen[-2:]] == [True, True]


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
