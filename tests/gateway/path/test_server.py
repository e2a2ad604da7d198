"""The HTTP server stops through its own hook, and lets requests in flight finish."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx2
import pytest

from sllm_actors.gateway.path.clients import asgi_request
from sllm_actors.gateway.path.server import HttpServer

pytestmark = pytest.mark.anyio


class SlowApp:
    """Answers in two pieces, the second one when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = anyio.Event(), anyio.Event()
        self.cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        self.begun.set()
        try:
            await self.go_on.wait()
        except BaseException:
            self.cancelled = True
            raise
        await send({"type": "http.response.body", "body": b"two"})


def bound() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def get(url: str, texts: list[str]) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        texts.append((await http.get(url)).text)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["event", "cancellation"])
async def test_a_request_in_flight_is_finished_and_no_new_one_accepted(by: str) -> None:
    texts: list[str] = []
    app, shutdown = SlowApp(), anyio.Event()
    listener, url = bound()
    async with anyio.create_task_group() as clients, anyio.create_task_group() as server:
        server.start_soon(lambda: HttpServer(app).serve(listener, shutdown=shutdown, grace=10))
        clients.start_soon(get, url, texts)
        await app.begun.wait()
        if by == "event":
            shutdown.set()
        else:
            server.cancel_scope.cancel()
        clients.start_soon(_finish, app, url)
    assert texts == ["one two"]


async def _finish(app: SlowApp, url: str) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(0.3)
        with pytest.raises(httpx2.ConnectError):
            await get(url, [])
        app.go_on.set()


async def test_a_request_that_outlasts_the_grace_is_cancelled() -> None:
    app, shutdown = SlowApp(), anyio.Event()
    listener, url = bound()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: HttpServer(app).serve(listener, shutdown=shutdown, grace=0.2))
            tasks.start_soon(_expect_broken, url)
            await app.begun.wait()
            shutdown.set()
    assert app.cancelled


async def _expect_broken(url: str) -> None:
    with pytest.raises(httpx2.TransportError):
        await get(url, [])


class QuickApp:
    """Answers at once."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})


async def test_one_connection_over_the_bound_hears_why_and_those_beyond_are_closed() -> None:
    listener, url = bound()
    address = listener.getsockname()
    shutdown = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: HttpServer(QuickApp(), connections=16).serve(listener, shutdown=shutdown, grace=1)
        )
        async with AsyncExitStack() as stack:
            for _ in range(16):
                await stack.enter_async_context(await anyio.connect_tcp(*address))
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
                await anyio.sleep(0.2)  # until they are accepted
                refused = await http.get(url)
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "too_many_connections"
                assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
            async with await anyio.connect_tcp(*address), await anyio.connect_tcp(*address) as beyond:
                with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await beyond.receive()
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            with anyio.fail_after(60):
                while (await http.get(url)).status_code == 503:  # noqa: ASYNC110 - another's sockets
                    await anyio.sleep(0.05)
        shutdown.set()


async def test_a_client_that_never_reads_is_cut_off_and_its_application_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asgi_request, "UNREAD_SECONDS", 0.2)
    shutdown, over, heard = anyio.Event(), anyio.Event(), list[Any]()

    async def endless(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                heard.append(await receive())
                over.set()
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            while True:
                await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
                await anyio.lowlevel.checkpoint()

    listener, _ = bound()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as server:
            server.start_soon(lambda: HttpServer(endless).serve(listener, shutdown=shutdown, grace=10))
            async with await anyio.connect_tcp("127.0.0.1", listener.getsockname()[1]) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                await over.wait()
            shutdown.set()
    assert heard == [{"type": "http.disconnect"}]


@pytest.mark.parametrize("line", [b"no header\r\n\r\n", b"x: " + bytes(100_000)], ids=["400", "431"])
async def test_a_client_that_is_still_sending_gets_its_refusal_and_no_reset(line: bytes) -> None:
    shutdown = anyio.Event()
    listener, _ = bound()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as server:
            server.start_soon(lambda: HttpServer(SlowApp()).serve(listener, shutdown=shutdown, grace=10))
            async with await anyio.connect_tcp("127.0.0.1", listener.getsockname()[1]) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + line.replace(b"\0", b"x"))
                answer = await client.receive()
                for _ in range(50):
                    await client.send(bytes(100_000))
                async for piece in client:
                    answer += piece
            shutdown.set()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert b"\r\nconnection: close\r\n" in answer
