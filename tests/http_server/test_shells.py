"""One application behaves the same under the cleartext server, and by HTTP/1.1 and HTTP/2 over TLS."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx2
import pytest

from .shells import SHELLS, Shell, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("shell", [pytest.param(shell, id=shell.name) for shell in SHELLS]),
]


async def read_body(receive: Any) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


async def answer(send: Any, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-kind", b"test")]})
    await send({"type": "http.response.body", "body": body})


async def test_a_request_arrives_whole_and_its_answer_leaves_whole(shell: Shell) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await read_body(receive)
        seen = {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "scheme": scope["scheme"],
            "hosts": [value.decode() for name, value in scope["headers"] if name == b"host"],
            "size": len(body),
        }
        await answer(send, json.dumps(seen).encode(), 201)

    async with serving(shell, app) as served, served.client() as http:
        response = await http.post("/v1/a%2Fb?c=d", content=b"x" * 1_000_000)
    host = served.url.partition("://")[2]
    assert (response.status_code, response.http_version) == (201, shell.version)
    assert response.headers["x-kind"] == "test"
    assert "server" not in response.headers
    assert response.json() == {
        "method": "POST",
        "path": "/v1/a/b",
        "raw_path": "/v1/a%2Fb",
        "query": "c=d",
        "scheme": served.url.partition(":")[0],
        "hosts": [host],
        "size": 1_000_000,
    }


async def test_a_stream_arrives_piece_by_piece(shell: Shell) -> None:
    heard = [anyio.Event() for _ in range(3)]

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number, event in enumerate(heard):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            await event.wait()
        await send({"type": "http.response.body", "body": b""})

    pieces = []
    async with (
        serving(shell, app) as served,
        served.client() as http,
        http.stream("POST", "/", content=b"{}") as response,
    ):
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            heard[len(pieces) - 1].set()
    assert pieces == [b"0", b"1", b"2"]


@pytest.mark.slow
async def test_many_requests_at_once_get_each_its_own_answer(shell: Shell) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await answer(send, scope["path"].encode() * 1_000)

    async def ask(http: httpx2.AsyncClient, number: int) -> None:
        assert (await http.get(f"/{number}")).content == f"/{number}".encode() * 1_000

    async with serving(shell, app) as served, served.client() as http, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(ask, http, number)


async def test_a_client_that_leaves_is_told_to_the_application(shell: Shell) -> None:
    told = anyio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"  # asked again, the same
        told.set()

    async with serving(shell, app) as served, served.client() as http:
        async with http.stream("GET", "/") as response:
            assert await anext(response.aiter_bytes()) == b"one"
            await http.aclose()  # leaving the stream alone says nothing by HTTP/2
        with anyio.fail_after(60):
            await told.wait()


async def test_an_application_that_does_not_read_its_request_can_still_answer(shell: Shell) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send, b"refused", 401)

    async with serving(shell, app) as served, served.client() as http:
        with anyio.fail_after(60):
            for size in (30_000, 30_000, 3_000_000, 30_000):
                response = await http.post("/", content=b"x" * size)
                assert (response.status_code, response.content) == (401, b"refused")


async def test_an_answer_that_breaks_off_is_an_error_for_the_client(shell: Shell) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})

    async with serving(shell, app) as served, served.client() as http:
        with anyio.fail_after(60), pytest.raises(httpx2.RemoteProtocolError):
            await http.get("/")


async def test_the_head_of_an_answer_has_no_body(shell: Shell) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await answer(send, b"something")

    async with serving(shell, app) as served, served.client() as http:
        assert (await http.head("/")).content == b""
        assert (await http.get("/")).content == b"something"


@pytest.mark.slow
async def test_a_client_that_does_not_read_makes_the_application_wait(shell: Shell) -> None:
    sent = 0
    stalled = anyio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 200 * 2**20:
            with anyio.move_on_after(1) as waiting:
                await send({"type": "http.response.body", "body": b"x" * 2**16, "more_body": True})
            if waiting.cancelled_caught:
                stalled.set()
                return
            sent += 2**16

    async with serving(shell, app) as served, served.client() as http, http.stream("GET", "/"):
        with anyio.fail_after(60):
            await stalled.wait()
    assert sent < 32 * 2**20


@pytest.mark.slow
async def test_a_sender_waits_for_an_application_that_does_not_read(shell: Shell) -> None:
    go_on = anyio.Event()
    sent = 0

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await answer(send, b"%d" % len(await read_body(receive)))

    async def content() -> Any:
        nonlocal sent
        for _ in range(24):
            yield b"x" * 2**20
            sent += 1

    async def look() -> None:
        before = -1
        while sent != before:  # until it sends nothing for some time
            before = sent
            await anyio.sleep(0.5)
        assert sent < 16
        go_on.set()

    async with serving(shell, app) as served, served.client() as http, anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        assert (await http.post("/", content=content())).text == str(24 * 2**20)
