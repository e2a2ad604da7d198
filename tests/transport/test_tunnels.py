"""Tunnels: raw bytes to what a request names, opened by either side."""

from __future__ import annotations

import errno
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from attrs import evolve
from tests.strangers import own_connection
from tests.tunnels import open_tunnel

from sllm_actors.actors.errors import PeerDown, UnknownMessage
from sllm_actors.actors.identity import NodeId
from sllm_actors.transport import NodeFull, Peer, Target, TlsContexts, TunnelRefused
from sllm_actors.transport.byte_streams import RestStream
from sllm_actors.transport.sockets import connect

from .kit import PATIENT, QUICK, Open, Text, Unregistered, node, pair, until
from .proxy import proxy

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def tls() -> TlsContexts:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    for context in (server, client):
        certificate.configure_cert(context)
        authority.configure_trust(context)
    server.verify_mode = ssl.CERT_REQUIRED
    return TlsContexts(server, client)


@pytest.fixture(params=["plain", "tls"])
def security(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"tls": request.getfixturevalue("tls")} if request.param == "tls" else {}


@asynccontextmanager
async def engine(handle: Any, *, as_stream: bool = False) -> AsyncIterator[Any]:
    """An engine on a socket of its own; returns the node's ``on_tunnel``, which connects to it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django

    async def on_tunnel(peer: Peer, request: object) -> Target:
        if request != Open("m:vllm#1"):
            raise TunnelRefused(f"there is no replica {request} for {peer.node}")
        if as_stream:
            return await anyio.connect_tcp("127.0.0.1", port)
        raw = socket.socket()
        raw.setblocking(False)
        if raw.connect_ex(("127.0.0.1", port)):
            await anyio.wait_writable(raw)
        return raw

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, own_connection(handle))
        yield on_tunnel
        tasks.cancel_scope.cancel()


async def shout(stream: SocketStream) -> None:
    """Answers in capitals, and ends when the other side ends."""
    async for chunk in stream:
        await stream.send(chunk.upper())
    await stream.send(b"BYE")


async def digest(stream: SocketStream) -> None:
    """Reads until the other side has closed its half, and only then answers."""
    seen = hashlib.sha256()
    async for chunk in stream:
        seen.update(chunk)
    await stream.send(seen.digest())


async def read_all(stream: ByteStream) -> bytes:
    out = b""
    with anyio.fail_after(60):
        async for chunk in stream:
            out += chunk
    return out


@pytest.mark.parametrize("as_stream", [True, False])
@pytest.mark.parametrize("dialler", ["requester", "answerer"])
async def test_bytes_and_half_close_go_through_whoever_dialled(
    dialler: str, as_stream: bool, security: dict[str, Any]
) -> None:
    async with engine(shout, as_stream=as_stream) as on_tunnel:
        answers: dict[str, Any] = {"on_tunnel": on_tunnel, **security}
        left, right = (security, answers) if dialler == "requester" else (answers, security)
        async with pair(left=left, right=right) as (dialled_from, dialled):
            here, there = (dialled_from, dialled) if dialler == "requester" else (dialled, dialled_from)
            async with await open_tunnel(here.transport, there.id, Open("m:vllm#1"), timeout=60) as tunnel:
                await tunnel.send(b"hello")
                assert await tunnel.receive() == b"HELLO"
                await tunnel.send_eof()
                assert await read_all(tunnel) == b"BYE"
            await until(
                lambda: here.transport.statistics().tunnels == there.transport.statistics().tunnels == 0
            )


async def test_a_large_body_arrives_whole(security: dict[str, Any]) -> None:
    body = bytes(range(256)) * 16384
    async with (
        engine(digest) as on_tunnel,
        pair(left=security, right={"on_tunnel": on_tunnel, **security}) as nodes,
    ):
        left, right = nodes
        async with await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=60) as tunnel:
            await tunnel.send(body)
            await tunnel.send_eof()
            assert await read_all(tunnel) == hashlib.sha256(body).digest()


@pytest.mark.slow
async def test_a_reader_that_stops_holds_the_writer_and_no_heartbeat() -> None:
    async def flood(stream: SocketStream) -> None:
        written = 0
        try:
            while True:
                await stream.send(bytes(65536))
                written += 65536
                progress[0] = written
        except anyio.BrokenResourceError:
            pass

    progress = [0]
    async with engine(flood) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        async with await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=60):
            held = -1
            while progress[0] != held:  # it writes as much as the buffers on the way take
                held = progress[0]
                await anyio.sleep(QUICK.budget)
            assert 0 < held < 64 * 1024 * 1024
            assert await left.ask(right.at(1), Text("x")) == Text("x")
        assert not left.losses()
        await until(lambda: right.transport.statistics().tunnels == 0)


async def test_a_reset_of_the_engine_is_a_reset_and_not_an_orderly_end() -> None:
    async def die(stream: SocketStream) -> None:
        from sllm_actors.transport.sockets import reset

        await stream.receive()
        await stream.send(b"half an ans")
        await anyio.sleep(0.05)
        reset(stream)

    async with engine(die) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        tunnel = await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=60)
        await tunnel.send(b"question")
        with pytest.raises(anyio.BrokenResourceError):
            await read_all(tunnel)
        await tunnel.aclose()


async def test_a_requester_that_leaves_ends_the_engines_connection() -> None:
    left_engine = anyio.Event()

    async def wait(stream: SocketStream) -> None:
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            left_engine.set()

    async with engine(wait) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        tunnel = await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=60)
        await tunnel.aclose()
        with anyio.fail_after(60):
            await left_engine.wait()


async def test_a_refusal_carries_its_reason() -> None:
    async with engine(shout) as on_tunnel, pair(right={"on_tunnel": on_tunnel}) as (left, right):
        with pytest.raises(TunnelRefused, match="there is no replica Open\\(replica='other'\\) for left"):
            await open_tunnel(left.transport, right.id, Open("other"), timeout=60)
        with pytest.raises(TunnelRefused, match="opens no tunnels"):
            await open_tunnel(right.transport, left.id, Open("m:vllm#1"), timeout=60)
        with pytest.raises(UnknownMessage):
            await open_tunnel(left.transport, right.id, Unregistered(), timeout=60)
        with pytest.raises(PeerDown):
            await open_tunnel(left.transport, NodeId("nobody"), Open("x"), timeout=60)
        await until(lambda: left.transport.statistics().tunnels == right.transport.statistics().tunnels == 0)


async def test_a_hook_that_fails_or_hangs_is_a_refusal() -> None:
    async def fail(peer: Peer, request: object) -> ByteStream:
        if request == Open("hang"):
            await anyio.sleep_forever()
        if request == Open("crowded"):
            raise OSError(errno.EMFILE, "Too many open files")
        if request == Open("gone"):
            raise ConnectionRefusedError(111, "Connection refused")
        raise RuntimeError("a secret detail")

    async with pair(right={"on_tunnel": fail}) as (left, right):
        with pytest.raises(TunnelRefused, match="RuntimeError") as caught:
            await open_tunnel(left.transport, right.id, Open("x"), timeout=60)
        assert "secret" not in str(caught.value)
        with pytest.raises(NodeFull, match=r"no file descriptors are left here \(ulimit -n: \d+\)$"):
            await open_tunnel(left.transport, right.id, Open("crowded"), timeout=60)
        with pytest.raises(TunnelRefused, match="Connection refused"):
            await open_tunnel(left.transport, right.id, Open("gone"), timeout=60)
        with pytest.raises(TunnelRefused, match=r"did not answer within 0\.2 s"):
            await open_tunnel(left.transport, right.id, Open("hang"), timeout=0.2)


async def test_a_hook_that_hangs_is_given_up_where_it_hangs() -> None:
    async def hang(peer: Peer, request: object) -> ByteStream:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            given_up.set()
        raise AssertionError

    asked, given_up = anyio.Event(), anyio.Event()
    async with pair(right={"on_tunnel": hang, "settings": evolve(PATIENT, tunnel_timeout=0.1)}) as (
        left,
        right,
    ):
        with pytest.raises(TunnelRefused, match="could not be opened in time"):
            await open_tunnel(left.transport, right.id, Open("x"), timeout=60)
        assert given_up.is_set()
        asked, given_up = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(open_tunnel, left.transport, right.id, Open("x"), timeout=60))
            await asked.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(60):
            await given_up.wait()
        await until(lambda: right.transport.statistics().tunnels == 0)


async def test_the_bound_on_tunnels_is_a_refusal() -> None:
    few = evolve(PATIENT, max_tunnels=2)
    async with (
        engine(shout) as on_tunnel,
        pair(left={"settings": few}, right={"on_tunnel": on_tunnel}) as nodes,
    ):
        left, right = nodes
        tunnels = [
            await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=60) for _ in range(2)
        ]
        with pytest.raises(NodeFull, match="2 tunnels open already"):
            await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=60)
        for each in tunnels:
            await each.aclose()
        await until(lambda: left.transport.statistics().tunnels == 0)


@pytest.mark.slow
async def test_tunnels_that_are_being_opened_count_against_the_bound() -> None:
    async def hang(peer: Peer, request: object) -> ByteStream:
        await anyio.sleep_forever()
        raise AssertionError

    refused: list[str] = []
    async with pair(left={"settings": evolve(PATIENT, max_tunnels=3)}, right={"on_tunnel": hang}) as nodes:
        left, right = nodes

        async def ask_for_one() -> None:
            try:
                await open_tunnel(left.transport, right.id, Open("m:vllm#1"), timeout=0.5)
            except TunnelRefused as error:
                refused.append(error.reason)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask_for_one)
        assert sum("3 tunnels open already" in each for each in refused) == 7
        assert sum("did not answer" in each for each in refused) == 3


@pytest.mark.slow
async def test_a_peer_that_calls_any_number_of_times_is_dialled_once_at_a_time() -> None:
    dials = 0

    async def dial(host: str, port: int) -> ByteStream:
        nonlocal dials
        dials += 1
        if dials == 3:  # after control and data
            try:
                await anyio.sleep_forever()
            finally:
                given_up.set()
        return await connect(host, port)

    given_up = anyio.Event()
    few = evolve(PATIENT, tunnel_lanes=2, handshake_timeout=1.0)
    async with pair(left={"settings": few, "connect": dial}) as (left, right):
        link = right.transport._peer_table.links[left.id]
        for _ in range(2000):
            link.call_tunnel()
        await until(lambda: not link.unacknowledged)
        assert dials == 3
        await given_up.wait()
        for number in (1, 2, 2, 2):
            link.call_tunnel()
            await until(lambda number=number: right.transport.statistics().tunnel_lanes == number)  # type: ignore[misc]
        await until(lambda: not link.unacknowledged)
        assert dials == 5
        assert await left.ask(right.at(1), Text("x")) == Text("x")


@pytest.mark.slow
@pytest.mark.parametrize("dialler", ["requester", "answerer"])
async def test_the_tunnels_of_a_lost_peer_break(dialler: str) -> None:
    async with engine(shout) as on_tunnel:
        far: dict[str, Any] = {"on_tunnel": on_tunnel}
        short = evolve(PATIENT, missed=20)
        async with (
            node("right", settings=short, **(far if dialler == "requester" else {})) as right,
            proxy(right.port) as network,
            node("left", settings=short, **(far if dialler == "answerer" else {})) as left,
        ):
            left.transport.dial("127.0.0.1", network.port)
            await until(lambda: left.ups() and right.ups())
            here, there = (left, right) if dialler == "requester" else (right, left)
            async with await open_tunnel(here.transport, there.id, Open("m:vllm#1"), timeout=60) as tunnel:
                await tunnel.send(b"x")
                assert await tunnel.receive() == b"X"
                network.stop()
                with pytest.raises(anyio.BrokenResourceError) as caught:
                    await read_all(tunnel)
                assert "silent" in str(caught.value.__cause__)
            await until(lambda: there.transport.statistics().tunnels == 0)


class Canned(ByteStream):
    """A stream that has certain bytes to give, in pieces, and then ends."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.pieces:
            raise anyio.EndOfStream
        data = self.pieces.pop(0)
        if len(data) > max_bytes:
            self.pieces.insert(0, data[max_bytes:])
        return data[:max_bytes]

    async def send(self, item: bytes) -> None:
        self.sent += item

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


async def test_the_rest_of_a_read_comes_first_and_honours_its_bound() -> None:
    stream = RestStream(Canned(b"cd"), b"ab")
    assert [await stream.receive(1), await stream.receive(5), await stream.receive()] == [b"a", b"b", b"cd"]
