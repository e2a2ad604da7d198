"""The HTTP server: uvicorn on a socket that is bound already, stopped through uvicorn's own hook."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn

from sllm_actors.descriptors import MOST_CONNECTIONS

from .http_protocol import BoundedHttp
from .ingress import ASGI, LAST_WORDS

KEEP_ALIVE_SECONDS = 75
"""How long a connection without a request is kept."""


class _Server(uvicorn.Server):
    """Uvicorn without its handlers of signals: those are the node's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_http(
    app: ASGI,
    listener: socket.socket,
    *,
    shutdown: anyio.Event,
    grace: float,
    give_up: Callable[[], None] = lambda: None,
    connections: int = MOST_CONNECTIONS,
) -> None:
    """Serve until ``shutdown`` is set, and then until the requests in flight have ended.

    A cancellation has the effect of ``shutdown``: requests in flight still get ``grace``.

    Args:
        app: The ASGI application.
        listener: A bound socket, which other processes may have too; it is closed here at the end.
        shutdown: When set, no more connections are accepted.
        grace: Seconds that requests in flight then get.
        give_up: Called when the grace is over, to tell the remaining clients why they get no more. Requests
            that are in flight about ``LAST_WORDS`` seconds later are cancelled.
        connections: How many connections of clients are served at a time; a request on one more is answered
            with 503.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(grace) + LAST_WORDS,
    )
    server = _Server(config)

    async def stop() -> None:
        try:
            await shutdown.wait()
        finally:
            server.should_exit = True
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(grace):
                    await served.wait()
                if not served.is_set():
                    give_up()

    served = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=[listener])
        served.set()
        tasks.cancel_scope.cancel()
