"""A response under another server, as for TLS: a client that does not read holds it up, and can end it."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.gateway.path.exchanging import EVENTS, TEXT, Play

from sllm_actors.gateway.path.asgi_inference import HELD, Guarded

pytestmark = pytest.mark.anyio

SCOPE: Any = {
    "type": "http",
    "method": "POST",
    "path": "/v1/chat/completions",
    "raw_path": b"/v1/chat/completions",
    "query_string": b"",
    "headers": [(b"host", b"127.0.0.1")],
}
BODY: Any = {"type": "http.request", "body": b'{"model": "smol", "stream": true}'}


class Server:
    """Plays the server of one request: it sends when it is told to, and says that the client has left."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.sends, self.leaves, self.sending = anyio.Event(), anyio.Event(), anyio.Event()
        self._given = False

    async def receive(self) -> Any:
        if not self._given:
            self._given = True
            return BODY
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sending.set()
        await self.sends.wait()
        self.sent.append(message)


async def other(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("no request is for another application")


async def begun(play: Play) -> None:
    with anyio.fail_after(60):
        while not play.under_way():
            await anyio.lowlevel.checkpoint()


async def test_an_engine_is_held_up_by_a_server_that_cannot_send() -> None:
    play, server = Play(), Server()
    play.ready(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: Guarded(other, play.inference)(SCOPE, server.receive, server.send))
        await begun(play)
        ((_, _, wire),) = play.under_way()
        play.say(EVENTS + TEXT)
        await server.sending.wait()  # and it waits there
        for _ in range(HELD // len(TEXT)):
            play.say(TEXT)
        assert not wire.is_paused()
        for _ in range(HELD // len(TEXT)):
            play.say(TEXT)
        assert wire.is_paused()
        server.sends.set()
        with anyio.fail_after(60):
            while wire.is_paused():
                await anyio.lowlevel.checkpoint()
        server.leaves.set()
    assert play.inference.under_way == 0


async def test_a_request_whose_client_leaves_ends_with_all_that_belongs_to_it() -> None:
    play, server = Play(), Server()
    play.ready(1)
    server.sends.set()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: Guarded(other, play.inference)(SCOPE, server.receive, server.send))
            await begun(play)
            ((_, _, wire),) = play.under_way()
            server.leaves.set()
    assert wire.aborted
    assert play.inference.under_way == play.inference.budget.held == 0
    assert server.sent == []
