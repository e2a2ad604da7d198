"""A server that is told to stop takes what had connected, finishes what is under way, and then ends."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream

from sllm_actors.gateway.path import server as hot_path
from sllm_actors.http_server import server as hypercorn

from .shells import CLEARTEXT, HTTP2, HYPERCORN, TLS, Shell, client_context, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "shell", [pytest.param(shell, id=shell.name) for shell in (CLEARTEXT, HYPERCORN, TLS, HTTP2)]
    ),
]


class Streams:
    """An application that streams until it is told to end, and answers anything but ``/stream`` at once."""

    def __init__(self) -> None:
        self.begun, self.end, self.given_up = anyio.Event(), anyio.Event(), anyio.Event()
        self.cancelled = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"one ", "more_body": True})
            self.begun.set()
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._first, self.end.wait, tasks.cancel_scope)
                    tasks.start_soon(self._first, self.given_up.wait, tasks.cancel_scope)
            except BaseException:
                self.cancelled.set()
                raise
        await send({"type": "http.response.body", "body": b"gave up" if self.given_up.is_set() else b"end"})

    @staticmethod
    async def _first(wait: Callable[[], Awaitable[None]], others: anyio.CancelScope) -> None:
        await wait()
        others.cancel()


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def stream_of(shell: Shell, client: socket.socket) -> ByteStream:
    """Return the bytes of a connection, which speaks HTTP/1.1."""
    stream: ByteStream = await SocketStream.from_socket(client)
    if shell.protocols:
        stream = await TLSStream.wrap(
            stream, ssl_context=client_context(), hostname="127.0.0.1", standard_compatible=False
        )
    return stream


@pytest.mark.slow
async def test_streams_are_finished_and_no_connection_is_accepted(shell: Shell) -> None:
    app = Streams()
    async with serving(shell, app) as served, served.client() as http:
        async with http.stream("GET", "/stream") as response:
            await app.begun.wait()
            served.shutdown.set()
            await anyio.sleep(0.1)
            with pytest.raises(httpx2.ConnectError):
                async with served.client() as late:
                    await late.get("/")
            app.end.set()
            assert await response.aread() == b"one end"
        with anyio.fail_after(60):
            await served.stopped.wait()


@pytest.mark.slow
async def test_a_kept_connection_is_served_and_told_that_it_ends(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hot_path, hypercorn):
        monkeypatch.setattr(module, "KEPT_SECONDS", 30.0)
    app = Streams()
    async with serving(shell, app, grace=90) as served, served.client() as kept, served.client() as http:
        await kept.get("/")
        async with http.stream("GET", "/stream") as response:
            await app.begun.wait()
            served.shutdown.set()
            await anyio.sleep(0.1)
            answer = await kept.get("/")
            assert answer.content == b"end"
            assert answer.headers.get("connection") == (None if shell is HTTP2 else "close")
            with pytest.raises(httpx2.TransportError):  # once is all
                await kept.get("/")
            app.end.set()
            assert await response.aread() == b"one end"


@pytest.mark.slow
async def test_a_kept_connection_is_closed_long_before_what_is_under_way_is_given_up(shell: Shell) -> None:
    app = Streams()
    async with (
        serving(shell, app, grace=60) as served,
        served.client() as http,
        await stream_of(shell, socket.create_connection(served.address)) as kept,
    ):
        await kept.send(REQUEST)
        got = b""
        while b"end" not in got:
            got += await kept.receive()
        async with http.stream("GET", "/stream") as response:
            await app.begun.wait()
            served.shutdown.set()
            with anyio.fail_after(30):
                assert b"HTTP" not in b"".join([piece async for piece in kept])
            app.end.set()
            assert await response.aread() == b"one end"


@pytest.mark.slow
async def test_idle_connections_hold_nothing_up(shell: Shell) -> None:
    async with serving(shell, Streams()) as served, served.client() as http:
        await http.get("/")
        served.shutdown.set()
        with anyio.fail_after(60):
            await served.stopped.wait()


@pytest.mark.slow
async def test_a_stream_that_outlasts_the_grace_is_given_up_and_still_read(shell: Shell) -> None:
    if not shell.hypercorn:
        pytest.skip("the hot path ends its own streams: tests/gateway/path/test_stopping.py")
    app = Streams()
    async with serving(shell, app, grace=0.2, give_up=app.given_up.set) as served, served.client() as http:
        async with http.stream("GET", "/stream") as response:
            await app.begun.wait()
            served.shutdown.set()
            assert await response.aread() == b"one gave up"
        with anyio.fail_after(60):
            await served.stopped.wait()
    assert not app.cancelled.is_set()


@pytest.mark.slow
async def test_a_stream_that_ignores_that_is_cut_off(shell: Shell) -> None:
    app = Streams()
    async with serving(shell, app, grace=0.1) as served, served.client() as http:
        async with http.stream("GET", "/stream") as response:
            await app.begun.wait()
            served.shutdown.set()
            with pytest.raises(httpx2.TransportError):
                await response.aread()
        with anyio.fail_after(60):
            await served.stopped.wait()


@pytest.mark.slow
async def test_what_had_connected_before_is_answered(shell: Shell) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    answers = []

    async def ask(client: socket.socket) -> None:
        async with await stream_of(shell, client) as stream:
            await stream.send(REQUEST)
            answers.append(b"".join([piece async for piece in stream]))

    async with serving(shell, app) as served:
        await anyio.sleep(0.1)
        clients = [socket.create_connection(served.address) for _ in range(20)]  # the loop takes none of them
        served.shutdown.set()
        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(ask, client)
    assert [answer[:13] for answer in answers] == 20 * [b"HTTP/1.1 200 "]
