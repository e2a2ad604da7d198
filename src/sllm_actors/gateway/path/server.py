"""The HTTP server: uvicorn on a socket that is bound already, stopped through its own hook."""

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


class _Server(uvicorn.Server):
    """Leaves signals to the process that it is a part of."""

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

    Cancellation has the effect of ``shutdown``: the server is never torn down in the middle of a request
    before the grace is over.

    Args:
        app: What answers.
        listener: Bound, and open in other processes too if need be; closed here at the end.
        shutdown: Stops accepting.
        grace: Seconds that requests in flight get.
        give_up: Called when the grace is over: tells the clients that are still there why they get no more.
            Requests that are in flight a second later are cancelled.
        connections: Of clients at a time; a request that comes over one more is answered with 503.
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
