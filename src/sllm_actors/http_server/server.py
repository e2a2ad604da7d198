"""Serves an ASGI application until it is told to stop, and then until the requests under way have ended."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable
from typing import Any

import anyio
import structlog
from anyio import lowlevel
from anyio.abc import TaskGroup

from sllm_actors.api_error import ApiError, too_many_connections
from sllm_actors.descriptors import MOST_CONNECTIONS

from .accepting import Acceptor
from .bounds import KEPT_SECONDS, LAST_WORDS, LEAVE_SECONDS, REFUSAL_SECONDS, most_refused
from .connection import HttpConnection, hypercorn_config
from .seats import Seats
from .tasks import ASGI, Send

log = structlog.get_logger()


STOPPING = ApiError(503, "server_stopping", "this server is being stopped: ask again", retry_after=1)


async def serve_asgi(
    app: ASGI,
    listener: socket.socket,
    *,
    shutdown: anyio.Event,
    grace: float,
    give_up: Callable[[], None] = lambda: None,
    last_word: ApiError = STOPPING,
    tls: Callable[[], ssl.SSLContext] | None = None,
    connections: int = MOST_CONNECTIONS,
    seats: Seats | None = None,
) -> None:
    """Serve until ``shutdown`` is set, and then until the requests under way have ended.

    From ``shutdown`` on, connections that wait in the socket's queue are still taken, and no later ones. A
    connection that was kept is served for ``KEPT_SECONDS``, at most a third of the grace, and by HTTP/1.1 for
    one more answer only, which says ``Connection: close``; by HTTP/2 until it has no request under way. So
    each request has the rest of the grace at least. A cancellation has the effect of ``shutdown``. Runs on
    asyncio only.

    Args:
        app: The ASGI application. It is called for HTTP requests only: no lifespan, no WebSockets.
        listener: A bound and listening socket, which other processes may have too; it is closed at the end.
        shutdown: When set, no more connections are accepted.
        grace: Seconds that requests under way then get.
        give_up: Called when the grace is over, to tell the remaining clients why they get no more. Half of
            ``LAST_WORDS`` later, requests whose answers have not begun get ``last_word``; at the end of that
            time, all that are under way are cancelled.
        last_word: See ``give_up``.
        tls: Returns the context for the next connection, or None for cleartext. What its ALPN offers decides
            between HTTP/1.1 and HTTP/2; cleartext is HTTP/1.1.
        connections: How many connections are served at a time. One more is answered with 503; see
            ``most_refused`` for those beyond.
        seats: For the processes that share the listener; see ``Acceptor``.
    """
    server = _Server(app, tls, connections)
    async with anyio.create_task_group() as tasks:
        acceptor = server.acceptor = Acceptor(
            listener,
            lambda accepted: tasks.start_soon(server.serve, server.take(accepted)),
            connections=lambda: server.open,
            seats=seats,
        )
        try:
            await shutdown.wait()
        finally:
            with anyio.CancelScope(shield=True):
                server.draining = True
                acceptor.stop()
                await lowlevel.checkpoint()  # the connections that were taken last begin
                kept = min(KEPT_SECONDS, grace / 3)
                quiet = await server.is_quiet_within(kept)
                if not quiet:
                    server.close_idle(tasks)
                    quiet = await server.is_quiet_within(grace - kept)
                if not quiet:
                    give_up()
                    if not await server.is_quiet_within(LAST_WORDS / 2):
                        server.give_up(last_word)
                        await server.is_quiet_within(LAST_WORDS / 2)
                await server.end()


class _Server:
    def __init__(self, app: ASGI, tls: Callable[[], ssl.SSLContext] | None, bound: int) -> None:
        self.draining = False
        self.open = 0
        self.acceptor: Acceptor | None = None
        self._app = app
        self._tls = tls
        self._bound = bound
        self._config = hypercorn_config()
        self._connections: dict[HttpConnection, anyio.CancelScope] = {}
        self._changed = anyio.Event()

    def take(self, accepted: socket.socket) -> socket.socket:
        """Count a connection that ``serve`` is about to get."""
        self.open += 1
        return accepted

    async def serve(self, accepted: socket.socket) -> None:
        """Serve one connection; a cancellation from outside waits until it has ended."""
        try:
            await self._serve(accepted)
        finally:
            self.open -= 1
            if self.acceptor is not None:
                self.acceptor.show()

    async def _serve(self, accepted: socket.socket) -> None:
        over = len(self._connections) + 1 - self._bound
        if over > 0:
            if over == 1:
                log.warning("http.too_many_connections", connections=self._bound)
            if over > most_refused(self._bound):
                accepted.close()
                return
        app = self._refuse if over > 0 else self._app
        connection = HttpConnection(app, self._config, lambda: over > 0 or self.draining, self._notice)
        with anyio.CancelScope(
            shield=True, deadline=anyio.current_time() + REFUSAL_SECONDS if over > 0 else math.inf
        ) as scope:
            self._connections[connection] = scope
            try:
                await connection.run(accepted, self._tls() if self._tls else None)
            except Exception:
                log.exception("http.connection_failed")
            finally:
                del self._connections[connection]
                self._notice()

    async def is_quiet_within(self, seconds: float) -> bool:
        """Wait until no connection has, or is about to have, a request under way; return if it came so."""
        with anyio.move_on_after(seconds):
            while any(connection.is_busy for connection in self._connections):
                self._changed = anyio.Event()
                await self._changed.wait()
        return not any(connection.is_busy for connection in self._connections)

    def close_idle(self, tasks: TaskGroup) -> None:
        """Close the connections without a request, in these tasks."""
        for connection in self._connections:
            if not connection.is_busy:
                tasks.start_soon(connection.close)

    def give_up(self, error: ApiError) -> None:
        """End the requests whose answers have not begun, each with this error."""
        for connection in self._connections:
            connection.give_up(error)

    async def end(self) -> None:
        """Close all connections; those that do not close in time are cut off."""
        async with anyio.create_task_group() as closing:
            for connection in self._connections:
                closing.start_soon(connection.close)
        with anyio.move_on_after(LEAVE_SECONDS):
            while self._connections:
                self._changed = anyio.Event()
                await self._changed.wait()
        for connection, scope in self._connections.items():
            connection.abort()
            scope.cancel()

    def _notice(self) -> None:
        self._changed.set()

    async def _refuse(self, _scope: Any, _receive: Any, send: Send) -> None:
        error = too_many_connections(self._bound)
        await send({"type": "http.response.start", "status": error.status, "headers": error.headers})
        await send({"type": "http.response.body", "body": error.body})
