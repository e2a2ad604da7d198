"""What hypercorn's HTTP/2 lacks, seen by a client that speaks it frame by frame."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import h2.config
import h2.connection
import h2.events
import pytest
from anyio.streams.tls import TLSStream
from attrs import define
from h2.errors import ErrorCodes

from sllm_actors.http_server import http2

from .shells import HTTP2, Served, client_context, serving

pytestmark = pytest.mark.anyio

Ended = (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)


@define
class Client:
    """One connection; windows are opened only where a test does it."""

    stream: TLSStream
    http: h2.connection.H2Connection

    async def request(self, path: str = "/", *, method: str = "GET", whole: bool = True) -> int:
        number = self.http.get_next_available_stream_id()
        pairs = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.http.send_headers(number, pairs, end_stream=whole)
        await self.flush()
        return number

    async def flush(self) -> None:
        await self.stream.send(self.http.data_to_send())

    async def until(self, wanted: Callable[[h2.events.Event], bool]) -> list[h2.events.Event]:
        """Return the events up to the first wanted one."""
        seen: list[h2.events.Event] = []
        with anyio.fail_after(60):
            while True:
                data = await self.stream.receive()
                for event in self.http.receive_data(data):
                    seen.append(event)
                    if wanted(event):
                        await self.flush()
                        return seen
                await self.flush()


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[Client]:
    context = client_context()
    context.set_alpn_protocols(["h2"])
    tcp = await anyio.connect_tcp(*served.address)
    stream = await TLSStream.wrap(tcp, ssl_context=context, hostname="127.0.0.1", standard_compatible=False)
    async with stream:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        http.initiate_connection()
        client = Client(stream, http)
        await client.flush()
        yield client


async def start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def quick(_scope: Any, _receive: Any, send: Any) -> None:
    await start(send)
    await send({"type": "http.response.body", "body": b"here"})


async def read_on(client: Client) -> None:
    while True:
        await client.stream.receive()


def about(number: int) -> Callable[[Any], bool]:
    return lambda event: isinstance(event, Ended) and getattr(event, "stream_id", number) == number


async def test_an_answer_that_breaks_off_resets_its_stream_and_no_other() -> None:
    go_on = anyio.Event()

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        if scope["path"] == "/whole":
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"two"})

    async with serving(HTTP2, app) as served, connected(served) as client:
        whole, broken = await client.request("/whole"), await client.request("/broken")
        *before, reset = await client.until(about(broken))
        assert isinstance(reset, h2.events.StreamReset)
        assert reset.error_code == ErrorCodes.INTERNAL_ERROR
        assert [each.data for each in before if isinstance(each, h2.events.DataReceived)] == 2 * [b"one"]
        go_on.set()
        *_, end = await client.until(about(whole))
        assert isinstance(end, h2.events.StreamEnded)


@pytest.mark.slow
async def test_a_stream_whose_body_nobody_reads_stalls_no_other() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/deaf":
            await anyio.sleep_forever()
        while (await receive())["more_body"]:
            pass
        await quick(scope, receive, send)

    async with serving(HTTP2, app, grace=0.1) as served, connected(served) as client:
        deaf = await client.request("/deaf", method="POST", whole=False)
        while client.http.local_flow_control_window(deaf):
            client.http.send_data(deaf, b"x" * min(16_384, client.http.local_flow_control_window(deaf)))
            await client.flush()
        other = await client.request("/other", method="POST", whole=False)
        with anyio.fail_after(60):
            sent = 0
            while sent < 200_000:
                while not client.http.local_flow_control_window(other):
                    await client.until(lambda event: isinstance(event, h2.events.WindowUpdated))
                size = min(16_384, client.http.local_flow_control_window(other))
                client.http.send_data(other, b"x" * size)
                await client.flush()
                sent += size
        client.http.end_stream(other)
        await client.flush()
        *_, end = await client.until(about(other))
        assert isinstance(end, h2.events.StreamEnded)
        assert client.http.local_flow_control_window(deaf) == 0


async def test_a_reset_tells_the_application_that_its_client_left() -> None:
    begun, told = anyio.Event(), anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            await quick(scope, receive, send)
            return
        await start(send)
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()

    async with serving(HTTP2, app) as served, connected(served) as client:
        number = await client.request()
        await begun.wait()
        client.http.reset_stream(number)
        await client.flush()
        with anyio.fail_after(60):
            await told.wait()
        *_, end = await client.until(about(await client.request("/other")))
        assert isinstance(end, h2.events.StreamEnded)


@pytest.mark.slow
async def test_a_connection_serves_more_than_a_thousand_requests() -> None:
    async with serving(HTTP2, quick) as served, connected(served) as client:
        for _ in range(1_200):
            *_, end = await client.until(about(await client.request()))
            assert isinstance(end, h2.events.StreamEnded)


@pytest.mark.slow
async def test_a_client_that_takes_back_too_many_requests_is_cut_off() -> None:
    calls = 0

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        nonlocal calls
        calls += 1
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(HTTP2, app) as served, connected(served) as client:
        with suppress(anyio.BrokenResourceError):
            for _ in range(2 * http2.MOST_RESETS):
                client.http.reset_stream(await client.request())
                await client.flush()
        with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await read_on(client)
    assert calls <= http2.MOST_RESETS + 1


async def test_headers_have_a_bound() -> None:
    async with serving(HTTP2, quick) as served, connected(served) as client:
        number = client.http.get_next_available_stream_id()
        pairs = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "localhost")]
        client.http.send_headers(
            number, [*pairs, *((f"x-{n}", "y" * 1_000) for n in range(80))], end_stream=True
        )
        await client.flush()
        *_, end = await client.until(about(number))
        assert isinstance(end, h2.events.ConnectionTerminated)


async def test_no_more_requests_at_once_than_announced() -> None:
    async with serving(HTTP2, quick) as served, connected(served) as client:
        await client.until(lambda event: isinstance(event, h2.events.RemoteSettingsChanged))
        assert client.http.remote_settings.max_concurrent_streams == http2.MOST_STREAMS
