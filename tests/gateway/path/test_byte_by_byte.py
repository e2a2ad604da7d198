"""A whole gateway on real sockets, on which each byte comes alone: the request, and the engine's answer."""

from __future__ import annotations

import json
import socket
from typing import Any

import anyio
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, served
from tests.gateway.raw_engine import Call

pytestmark = pytest.mark.anyio

CHUNK = (
    b'data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n'
)
EVENTS = CHUNK % b"hel" + CHUNK % b"lo" + b"data: [DONE]\n\n"
DOCUMENT = b'{"object": "chat.completion", "choices": [{"message": {"content": "hello"}}]}'


async def slowly(stream: Any, data: bytes) -> None:
    for at in range(len(data)):
        await stream.send(data[at : at + 1])
        await anyio.lowlevel.checkpoint()


async def answer_slowly(call: Call) -> None:
    call.stream.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(  # noqa: S610 - anyio's extra
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    if call.document.get("stream"):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (EVENTS[:50], EVENTS[50:]))
        await slowly(call.stream, head + chunks + b"0\r\n\r\n")
    else:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await slowly(call.stream, head % len(DOCUMENT) + DOCUMENT)


async def read_response(stream: Any) -> tuple[bytes, bytes]:
    """Read one response from a connection that is kept; return its head, and its body without chunks."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    length = [line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
    if length:
        while len(body) < int(length[0][16:]):
            body += await stream.receive()
        return head, body
    while not body.endswith(b"\r\n0\r\n\r\n"):
        body += await stream.receive()
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return head, whole


@pytest.mark.parametrize("framing", ["length", "chunked", "h2c"])
async def test_a_request_and_its_answer_come_through_byte_by_byte(
    cluster: PlayedCluster, broken_engine: Engines, framing: str
) -> None:
    async with broken_engine() as engine:
        engine.behave = answer_slowly
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        port = int(cluster.url.rpartition(":")[2])
        with anyio.fail_after(60):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                for streamed in (False, True, False):
                    body = json.dumps({"model": "smol", "messages": [], "stream": streamed}).encode()
                    lines = {
                        "length": b"Content-Length: %d\r\n" % len(body),
                        "chunked": b"Transfer-Encoding: chunked\r\n",
                        "h2c": b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n" % len(body),
                    }
                    if framing == "chunked":
                        body = b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
                    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines[framing]
                    await slowly(stream, head + b"\r\n" + body)
                    head, body = await read_response(stream)
                    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert body == (EVENTS if streamed else DOCUMENT)
        assert len(engine.calls) == 3
