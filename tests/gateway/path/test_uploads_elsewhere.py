"""Uploads on raw sockets, to an engine of this machine, and to one of another through a real tunnel."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.upload_engine import Read, UploadEngine, upload_engine
from tests.transport.kit import Open, pair

from sllm_actors.gateway.path.clients.upload import KEPT
from sllm_actors.transport import Peer

pytestmark = pytest.mark.anyio

BEGIN = (
    b'--XB\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmol\r\n'
    b'--XB\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)
WISH = b'--XB\r\nContent-Disposition: form-data; name="keep_alive"\r\n\r\n5m\r\n'
END = b"--XB--\r\n"
PIECE = bytes(range(256)) * 400


@frozen
class Way:
    """A gateway and the engine to which it leads."""

    cluster: PlayedCluster
    engine: UploadEngine

    async def connect(self) -> anyio.abc.SocketStream:
        stream = await anyio.connect_tcp("127.0.0.1", int(self.cluster.url.rpartition(":")[2]))
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - anyio's extra
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream


Ways = Callable[..., AbstractAsyncContextManager[Way]]


@pytest.fixture(params=["here", "elsewhere"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Ways:
    @asynccontextmanager
    async def local(**more: Any) -> AsyncIterator[Way]:
        async with upload_engine(**more) as engine, running_gateway(tmp_path) as cluster:
            await cluster.deploy(served(backend="vllm"))
            await cluster.report(replica("smol:vllm", address=engine.url))
            yield Way(cluster, engine)

    @asynccontextmanager
    async def tunnelled(**more: Any) -> AsyncIterator[Way]:
        async with upload_engine(**more) as engine:

            async def to_engine(_peer: Peer, _request: object) -> socket.socket:
                raw = socket.socket()
                raw.setblocking(False)
                if raw.connect_ex(("127.0.0.1", int(engine.url.rpartition(":")[2]))):
                    await anyio.wait_writable(raw)
                return raw

            async with (
                pair(right={"on_tunnel": to_engine}) as (left, right),
                running_gateway(
                    tmp_path,
                    tunnel=lambda _, protocol: left.transport.open_stream(right.id, Open("smol"), protocol),
                ) as cluster,
            ):
                await cluster.deploy(served(backend="vllm"))
                await cluster.report(replica("smol:vllm", address="unix:/engine", machine="there"))
                yield Way(cluster, engine)
                assert cluster.tunnels

    return local if request.param == "here" else tunnelled


def head(framing: bytes) -> bytes:
    return (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: multipart/form-data; boundary=XB\r\n" + framing + b"\r\n\r\n"
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def answer_of(stream: anyio.abc.SocketStream) -> Any:
    data = b""
    with anyio.fail_after(60):
        while not data.endswith(b"}"):
            data += await stream.receive()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    return json.loads(data.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_an_upload_comes_through_byte_by_byte(way: Ways, framing: str) -> None:
    sound = b"RIFF\r\n--XA\r\n--\r"
    body = BEGIN + sound + b"\r\n" + WISH + END
    if framing == "length":
        whole = head(b"Content-Length: %d" % len(body)) + body
    else:
        whole = head(b"Transfer-Encoding: chunked") + chunk(body[:50]) + chunk(body[50:]) + b"0\r\n\r\n"
    async with way() as found, await found.connect() as stream:
        for at in range(len(whole)):
            await stream.send(whole[at : at + 1])
            await anyio.lowlevel.checkpoint()
        fields = (await answer_of(stream))["fields"]
        assert fields == {"model": "smol", "file": hashlib.sha256(sound).hexdigest()}
        read = found.engine.reads[0]
        assert read.raw == BEGIN + sound + b"\r\n" + END + b" " * (len(WISH) if framing == "length" else 0)


@pytest.mark.slow
async def test_an_engine_that_reads_slowly_is_not_sent_more_than_it_reads(way: Ways) -> None:
    count = 200
    most = 0

    async def watch(_: Read) -> None:
        nonlocal most
        await anyio.lowlevel.checkpoint()
        most = max(most, found.cluster.gateway._inference.budget.held)

    async with way(keeps=False, goes_on=watch) as found, await found.connect() as stream:
        length = len(BEGIN) + count * len(PIECE) + 2 + len(END)
        await stream.send(head(b"Content-Length: %d" % length) + BEGIN)
        for _ in range(count):
            await stream.send(PIECE)
        await stream.send(b"\r\n" + END)
        answer = await answer_of(stream)
        assert (answer["size"], answer["fields"]["file"]) == (
            length,
            hashlib.sha256(count * PIECE).hexdigest(),
        )
        assert 0 < most < 2 * KEPT


async def test_a_client_is_sent_100_continue_and_can_go_on_with_another_upload(way: Ways) -> None:
    body = BEGIN + PIECE + b"\r\n" + END
    async with way() as found, await found.connect() as stream:
        for _ in range(2):
            await stream.send(head(b"Content-Length: %d\r\nExpect: 100-continue" % len(body)))
            with anyio.fail_after(60):
                assert await stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
            for at in range(0, len(body), 10_000):
                await stream.send(body[at : at + 10_000])
            assert (await answer_of(stream))["fields"]["file"] == hashlib.sha256(PIECE).hexdigest()
        assert len(found.engine.reads) == 2
