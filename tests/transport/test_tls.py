"""TLS below the handshake: who is trusted, and what each side is told when two nodes do not fit."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import anyio
import pytest
import trustme
from tests.strangers import own_connection

from sllm_actors.transport import NoLink, TlsContexts
from sllm_actors.transport.handshake import MAGIC, TLS_ALERT
from sllm_actors.transport.tls import explain_tls

from .kit import Node, Text, node, pair, until
from .proxy import proxy

pytestmark = pytest.mark.anyio

OURS = trustme.CA()
THEIRS = trustme.CA()


def contexts(
    certificate: trustme.LeafCert, *trusted: trustme.CA, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> TlsContexts:
    made = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)]
    for context in made:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = version
        certificate.configure_cert(context)
        for authority in trusted:
            authority.configure_trust(context)
    return TlsContexts(*made)


GOOD = contexts(OURS.issue_cert("any.example"), OURS)


async def reason(here: Node, port: int, *, refused: bool = True) -> str:
    """Return what a node says about an address that gives it no link."""
    told: list[NoLink] = []
    here.transport._announce._on_no_link = told.append
    here.transport.dial("127.0.0.1", port)
    await until(lambda: [each for each in told if each.refused is refused])
    assert not here.events
    return next(each.reason for each in told if each.refused is refused).removeprefix(f"127.0.0.1:{port} ")


async def test_nodes_with_certificates_of_one_authority_are_linked() -> None:
    async with pair(left={"tls": GOOD}, right={"tls": contexts(OURS.issue_cert("b"), OURS)}) as (left, right):
        assert await left.ask(right.at(1), Text("x")) == Text("x")


async def test_a_node_without_tls_is_told_that_it_needs_it() -> None:
    async with node("right", tls=GOOD) as right, node("left") as left:
        assert await reason(left, right.port) == (
            "answered, but it expects TLS: start this node with --tls-cert, --tls-key and --tls-ca"
        )


async def test_a_node_with_tls_is_told_that_the_other_has_none() -> None:
    async with node("right") as right, node("left", tls=GOOD) as left:
        assert await reason(left, right.port) == (
            "does not use TLS, and this node does: start all nodes with --tls-cert, --tls-key and --tls-ca, "
            "or all without"
        )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_node_whose_certificate_is_not_accepted_is_told_so(version: ssl.TLSVersion) -> None:
    stranger = contexts(THEIRS.issue_cert("x"), OURS, version=version)
    async with node("right", tls=GOOD) as right, node("left", tls=stranger) as left:
        assert await reason(left, right.port) == (
            "does not accept the certificate of this node's --tls-cert (tlsv1 alert unknown ca): "
            "give both certificates of the same authority, and both its --tls-ca"
        )


async def test_a_node_that_does_not_trust_the_other_says_why() -> None:
    stranger = contexts(OURS.issue_cert("x"), THEIRS)
    async with node("right", tls=GOOD) as right, node("left", tls=stranger) as left:
        told = await reason(left, right.port)
        assert told.startswith("shows a certificate that --tls-ca does not vouch for (")
        assert told.endswith("): give both certificates of the same authority, and both its --tls-ca")


async def test_a_certificate_that_has_expired_is_named() -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    old = contexts(OURS.issue_cert("x", not_before=past - timedelta(days=9), not_after=past), OURS)
    async with node("right", tls=old) as right, node("left", tls=GOOD) as left:
        assert "(certificate has expired)" in await reason(left, right.port)
    async with node("right", tls=GOOD) as right, node("left", tls=old) as left:
        assert "alert certificate expired)" in await reason(left, right.port)


async def test_a_stranger_without_tls_is_sent_an_alert() -> None:
    async with node("right", tls=GOOD) as right:
        for greeting in (MAGIC, b"GET / HTTP/1.1\r\n\r\n"):
            async with await anyio.connect_tcp("127.0.0.1", right.port) as stream:
                await stream.send(greeting)
                assert await stream.receive() == TLS_ALERT
        await until(lambda: right.transport.statistics().refused == 2)


async def test_bytes_that_were_changed_on_the_way_cost_the_connection_and_nothing_else() -> None:
    async with (
        node("right", role="head", tls=GOOD) as right,
        node("left", tls=GOOD) as left,
        proxy(right.port) as network,
    ):
        left.transport.dial("127.0.0.1", network.port)
        await until(lambda: left.ups() and right.ups())
        network.flip = 1
        await until(lambda: network.flip == 0)
        await until(lambda: network.opened > 2)
        await until(lambda: len(left.ups()) > len(left.losses()))
        assert await left.ask(right.at(1), Text("x")) == Text("x")


async def test_who_hangs_up_in_the_handshake_has_refused_nothing() -> None:
    """It may have been killed at that moment: a node that has not joined yet must not give up for that."""

    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, own_connection(hang_up))
        for tls, words in ((GOOD, "during the TLS handshake"), (None, "during the handshake")):
            async with node("left", tls=tls) as left:
                assert await reason(left, port, refused=False) == f"closed the connection {words}"
        tasks.cancel_scope.cancel()


def test_another_failure_of_tls_is_told_in_the_library_s_words() -> None:
    error = ssl.SSLError(1, "[SSL: NO_SHARED_CIPHER] no shared cipher")
    assert explain_tls(error) == "could not agree on TLS (no reason given)"
    error.reason = "NO_SHARED_CIPHER"
    assert explain_tls(error) == "could not agree on TLS (no shared cipher)"
