"""An engine that takes files: a real HTTP server whose application reads forms as they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import define, field
from python_multipart.multipart import MultipartParser, parse_options_header
from tests.http_server.shells import HYPERCORN, serving

Receive = Callable[[], Awaitable[Any]]


@define
class Read:
    """What an engine has read of one request.

    Attributes:
        headers: Those that it came with.
        fields: The fields of the form, and under ``file`` the digest of its file.
        size: Bytes of the body.
        raw: The body.
        whole: Whether the last boundary has come.
        gone: Whether the client has left.
        over: Set when the engine has no more to do with it.
    """

    headers: dict[str, str]
    fields: dict[str, str] = field(factory=dict)
    size: int = 0
    raw: bytes = b""
    whole: bool = False
    gone: bool = False
    over: anyio.Event = field(factory=anyio.Event)


@define
class UploadEngine:
    """Answers each form with what it has read of it.

    Attributes:
        reads: What came.
        goes_on: Waits before each piece that is read.
        refuses: The status with which it answers before it has read anything; 0 if it does not.
        keeps: Whether it keeps bodies.
    """

    url: str = ""
    reads: list[Read] = field(factory=list)
    goes_on: Callable[[Read], Awaitable[None]] | None = None
    refuses: int = 0
    keeps: bool = True

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        read = Read({name.decode(): value.decode() for name, value in scope["headers"]})
        self.reads.append(read)
        try:
            if self.refuses:
                await answer(send, self.refuses, {"error": {"message": "no room", "code": "too_big"}})
            elif await self._take(read, receive):
                await answer(send, 200, {"text": "heard", "fields": read.fields, "size": read.size})
        finally:
            read.over.set()

    async def _take(self, read: Read, receive: Receive) -> bool:
        parser = form_parser(read)
        while True:
            if self.goes_on is not None:
                await self.goes_on(read)
            message = await receive()
            if message["type"] == "http.disconnect":
                read.gone = True
                return False
            read.size += len(message["body"])
            if self.keeps:
                read.raw += message["body"]
            parser.write(message["body"])
            if not message["more_body"]:
                return True


def form_parser(read: Read) -> MultipartParser:
    """Return what reads a form as the frameworks of engines do."""
    boundary = parse_options_header(read.headers["content-type"])[1][b"boundary"]
    name, value, digest = "", b"", hashlib.sha256()

    def on_part_begin() -> None:
        nonlocal name, value
        name, value = "", b""

    def on_header_value(data: bytes, start: int, end: int) -> None:
        nonlocal name
        options = parse_options_header(data[start:end])[1]
        if not name:
            name = "file" if b"filename" in options else options[b"name"].decode()

    def on_part_data(data: bytes, start: int, end: int) -> None:
        nonlocal value
        if name == "file":
            digest.update(memoryview(data)[start:end])
        else:
            value += data[start:end]

    def on_part_end() -> None:
        assert name == "file" or name not in read.fields
        read.fields[name] = digest.hexdigest() if name == "file" else value.decode()

    def on_end() -> None:
        read.whole = True

    return MultipartParser(
        boundary,
        {
            "on_part_begin": on_part_begin,
            "on_header_value": on_header_value,
            "on_part_data": on_part_data,
            "on_part_end": on_part_end,
            "on_end": on_end,
        },
    )


async def answer(send: Any, status: int, document: Any) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def upload_engine(**more: Any) -> AsyncIterator[UploadEngine]:
    """Run an engine on a free port of loopback."""
    engine = UploadEngine(**more)
    async with serving(HYPERCORN, engine, grace=0) as served:
        engine.url = served.url
        yield engine
