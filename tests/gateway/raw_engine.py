"""An engine of raw bytes: for each connection it does what a test says, however wrong that is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from attrs import define, field

Behaviour = Callable[["Call"], Awaitable[None]]


@define
class Call:
    """One connection with one request on it."""

    stream: SocketStream
    head: bytes
    body: bytes
    hung_up: anyio.Event

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    async def answer(self, status: int, body: Any, *headers: str) -> None:
        """Send a whole JSON answer."""
        content = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", *headers]
        head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
        await self.stream.send(head.encode() + content)

    async def begin_events(self) -> None:
        await self.stream.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.stream.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, document: Any) -> None:
        await self.chunk(b"data: " + json.dumps(document).encode() + b"\n\n")

    async def text(self, text: str, finish: str | None = None) -> None:
        """Send a chunk of a chat."""
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        await self.event({"id": "c-1", "object": "chat.completion.chunk", "choices": [choice]})

    async def end(self) -> None:
        await self.chunk(b"data: [DONE]\n\n")
        await self.stream.send(b"0\r\n\r\n")


@define
class RawEngine:
    """Listens; ``behave`` says what it does next, and may be replaced at any time."""

    port: int
    behave: Behaviour
    calls: list[Call] = field(factory=list)
    _called: anyio.Event = field(factory=anyio.Event, init=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def first_call(self) -> Call:
        """Wait for the first request, and return it."""
        with anyio.fail_after(60):
            await self._called.wait()
        return self.calls[0]

    async def serve(self, stream: SocketStream) -> None:
        async with stream, anyio.create_task_group() as tasks:
            try:
                call = await _read(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            self.calls.append(call)
            self._called.set()
            tasks.start_soon(_watch, call)
            try:
                await self.behave(call)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                call.hung_up.set()
            tasks.cancel_scope.cancel()


async def _read(stream: SocketStream) -> Call:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += await stream.receive()
    return Call(stream, head, body, anyio.Event())


async def _watch(call: Call) -> None:
    try:
        while True:
            await call.stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        call.hung_up.set()


async def say_hello(call: Call) -> None:
    """Answer a chat, streamed or not."""
    if call.document.get("stream"):
        await call.begin_events()
        await call.text("hel")
        await call.text("lo", "stop")
        await call.end()
    else:
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await call.answer(200, {"id": "c-1", "object": "chat.completion", "choices": [choice]})


@asynccontextmanager
async def raw_engine() -> AsyncIterator[RawEngine]:
    """Run an engine on a free port of loopback."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    engine = RawEngine(listener.extra(SocketAttribute.local_port), say_hello)  # noqa: S610 - anyio's extra
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, engine.serve)
        yield engine
        tasks.cancel_scope.cancel()
