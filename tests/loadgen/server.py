"""A server that answers as the model that is asked for says: ``8 tokens``, ``silent``, ``refuses`` …

It is a real one, on a real socket, and notes what it was asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
from attrs import define, field

from sllm_actors.loadgen.client.target import LoadTarget

COMPLETION = {
    "choices": [{"message": {"role": "assistant", "content": "Hello"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 3},
}


def event(content: str) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': {'content': content}}]})}\n\n".encode()


@define
class ScriptedServer:
    """What it was asked, and its port.

    Attributes:
        bodies: Of all requests, in order.
        connections: How many there were.
        left: Clients that hung up before their answer was whole.
        open_now: Requests under way.
        most: The most of them at one time.
        models: What its list has; None for a server that has no list.
        asked: Is set when the first request has come.
        go: Models that wait do so until this is set.
    """

    port: int = 0
    bodies: list[dict[str, Any]] = field(factory=list)
    keys: list[str] = field(factory=list)
    connections: int = 0
    left: int = 0
    open_now: int = 0
    most: int = 0
    models: list[str] | None = field(factory=lambda: ["m"])
    asked: asyncio.Event = field(factory=asyncio.Event)
    go: asyncio.Event = field(factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> LoadTarget:
        return LoadTarget("127.0.0.1", self.port, secure=False, base="", key="")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        with suppress(OSError, h11.ProtocolError):
            try:
                while True:
                    request, body = await self._read(connection, reader)
                    if request is None:
                        return
                    await self._answer(connection, request, body, reader, writer)
                    if connection.our_state is not h11.DONE:
                        return
                    connection.start_next_cycle()
            finally:
                writer.close()

    async def _read(
        self, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> tuple[h11.Request | None, bytes]:
        request: h11.Request | None = None
        body = b""
        while True:
            match connection.next_event():
                case h11.Request() as found:
                    request = found
                case h11.Data(data=data):
                    body += bytes(data)
                case h11.EndOfMessage():
                    return request, body
                case h11.ConnectionClosed():
                    return None, b""
                case h11.NEED_DATA:
                    connection.receive_data(await reader.read(65536))

    async def _answer(
        self,
        connection: h11.Connection,
        request: h11.Request,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.keys += [value.decode() for name, value in request.headers if name == b"authorization"]
        if request.method == b"GET":
            status, answer = self._models(request.target.decode())
            await _send(connection, writer, status, json.dumps(answer).encode())
            return
        asked = json.loads(body)
        self.bodies.append(asked)
        self.asked.set()
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        try:
            await self._complete(connection, asked, reader, writer)
        except OSError:
            self.left += 1
            raise
        finally:
            self.open_now -= 1

    def _models(self, path: str) -> tuple[int, Any]:
        if path == "/v1/models" and self.models is not None:
            return 200, {"data": [{"id": each} for each in self.models]}
        return (200, {"id": "alias"}) if path.endswith("/alias") else (404, {})

    async def _complete(
        self,
        connection: h11.Connection,
        asked: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        match asked["model"]:
            case "refuses":
                error = {"error": {"code": "too_many", "message": "slow down"}}
                await _send(connection, writer, 429, json.dumps(error).encode())
            case "closes":
                writer.close()
            case "garbles":
                writer.write(b"nonsense\r\n\r\n")
                await writer.drain()
            case "closes after":
                await _send(connection, writer, 200, json.dumps(COMPLETION).encode(), ("Connection", "close"))
            case "waits":
                await self._wait(reader)
                await _send(connection, writer, 200, json.dumps(COMPLETION).encode())
            case "stops":
                await _send(connection, writer, 200, event("a") + event("b"))
            case _ if asked["stream"]:
                pieces = [event("a")] * asked["max_tokens"]
                await _send(connection, writer, 200, b"".join(pieces) + b"data: [DONE]\n\n")
            case _:
                await _send(connection, writer, 200, json.dumps(COMPLETION).encode())

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        """Wait until ``go`` is set, or the client has left."""
        going = asyncio.ensure_future(self.go.wait())
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([going, gone], return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                gone.result()
                raise ConnectionResetError
        finally:
            going.cancel()
            gone.cancel()
            await asyncio.wait([going, gone])


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    *headers: tuple[str, str],
) -> None:
    response = h11.Response(status_code=status, headers=[("Content-Length", str(len(body))), *headers])
    for each in (response, h11.Data(data=body), h11.EndOfMessage()):
        data = connection.send(each)
        if data:
            writer.write(data)
    await writer.drain()


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedServer]:
    """Run one."""
    made = ScriptedServer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=4096)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.go.set()
        server.close()
