"""The gateway's own HTTP/1.1 server: inference by the hot path, all else by an ASGI application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import anyio
import structlog
from anyio.abc import TaskGroup

from sllm_actors.api_error import too_many_connections
from sllm_actors.descriptors import MOST_CONNECTIONS
from sllm_actors.gateway.bodies.dialects import dialect_of
from sllm_actors.http_server.accepting import Acceptor
from sllm_actors.http_server.bounds import (
    IDLE_SECONDS,
    KEPT_SECONDS,
    LAST_WORDS,
    LEAVE_SECONDS,
    NEW_SECONDS,
    REFUSAL_SECONDS,
    most_refused,
)
from sllm_actors.http_server.seats import Seats

from .clients.asgi_request import ASGI, AsgiRequest, Receive, Scope, Send
from .clients.connection import ClientConnection
from .clients.handler import RequestHandler
from .clients.request_head import RequestHead
from .clients.response import Http1Response
from .deadlines import Rounds
from .inference import Inference

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How often idle connections are looked at."""

LOOK_AGAIN_SECONDS = 0.1
"""How often a server that stops looks whether all is quiet; it looks as well when a connection is closed."""


class HttpServer:
    """Accepts connections, and hands each request to the hot path or to the application.

    Args:
        app: Serves every request that ``inference`` does not take.
        inference: Serves the requests that engines answer; None if there are none.
        connections: How many connections are served at a time; a request on one more is answered with 503
            ``too_many_connections``; see ``most_refused`` for those beyond.

    Attributes:
        stopping: Whether the server is being stopped: each connection is closed after its next response.
    """

    def __init__(
        self, app: ASGI, inference: Inference | None = None, connections: int = MOST_CONNECTIONS
    ) -> None:
        self.stopping = False
        self._inference = inference
        self._app = app
        self._bound = connections
        self._open: set[ClientConnection] = set()
        self._over: set[ClientConnection] = set()
        self._taken = 0
        self._acceptor: Acceptor | None = None
        self._rounds: Rounds[ClientConnection] = Rounds(IDLE_SECONDS / 5)
        self._now = 0.0
        self._changed = anyio.Event()
        self._tasks: TaskGroup
        self._clock: Callable[[], float]

    async def serve(
        self,
        listener: socket.socket,
        *,
        shutdown: anyio.Event,
        grace: float,
        seats: Seats | None = None,
    ) -> None:
        """Serve until ``shutdown`` is set, and then until the requests in flight have ended.

        From ``shutdown`` on, connections that wait in the socket's queue are still taken, and no later ones.
        A connection that was kept is served for ``KEPT_SECONDS``, at most a third of the grace, and for one
        more response only, which says ``Connection: close``; so each request has the rest of the grace at
        least. A cancellation has the effect of ``shutdown``. When ``grace`` is over, requests that are left
        end with the error ``gateway_stopping``; ``LAST_WORDS`` later they are cut off.

        Args:
            listener: A bound socket, which other processes may have too; it is closed here at the end.
            shutdown: When set, no more connections are accepted.
            grace: Seconds that requests in flight then get.
            seats: For the processes that share the listener; see ``Acceptor``.
        """
        self._clock = asyncio.get_running_loop().time
        self._now = self._clock()
        stop = anyio.Event()
        async with anyio.create_task_group() as watch:
            watch.start_soon(_pass_on, shutdown, stop)
            # Requests under way outlast a cancellation: they get their grace.
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as self._tasks:
                    acceptor = self._acceptor = Acceptor(
                        listener, self._take, connections=lambda: len(self._open) + self._taken, seats=seats
                    )
                    self._tasks.start_soon(self._close_idle)
                    await stop.wait()
                    acceptor.stop()
                    await self._drain(grace)
                    self._tasks.cancel_scope.cancel()
            watch.cancel_scope.cancel()

    def _take(self, accepted: socket.socket) -> None:
        self._taken += 1
        self._tasks.start_soon(self._connect, accepted)

    async def _connect(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: ClientConnection(self), accepted)
        except OSError:
            accepted.close()  # the client has left already
        finally:
            self._taken -= 1

    async def _drain(self, grace: float) -> None:
        self.stopping = True
        kept = min(KEPT_SECONDS, grace / 3)
        quiet = await self._is_quiet_within(kept)
        if not quiet:
            for connection in list(self._open):
                if not self._counts(connection):
                    connection.close()
            quiet = await self._is_quiet_within(grace - kept)
        if not quiet:
            if self._inference is not None:
                self._inference.give_up()
            for connection in list(self._open):
                connection.give_up()
            await self._is_quiet_within(LAST_WORDS)
        for connection in list(self._open):
            if connection.is_idle:
                connection.close()
            else:
                connection.cut_off()
        with anyio.move_on_after(LEAVE_SECONDS):
            await self._all_closed()
        for connection in list(self._open):
            connection.cut_off()

    async def _is_quiet_within(self, seconds: float) -> bool:
        """Wait until no connection has, or is about to have, a request under way; return if it came so."""
        with anyio.move_on_after(seconds):
            while self._is_busy():
                self._changed = anyio.Event()
                with anyio.move_on_after(LOOK_AGAIN_SECONDS):
                    await self._changed.wait()
        return not self._is_busy()

    def _is_busy(self) -> bool:
        return self._taken > 0 or any(self._counts(each) for each in self._open)

    def _counts(self, connection: ClientConnection) -> bool:
        """Return whether a stop waits for a connection: it has a request under way, or is about to."""
        is_fresh = connection.is_new and connection.idle_since > self._clock() - NEW_SECONDS
        return connection.is_busy or is_fresh

    async def _all_closed(self) -> None:
        while self._open:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def _close_idle(self) -> None:
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self._now = self._clock()
            for connection in self._rounds.due(self._now):
                if connection.is_read():
                    connection.idle_since = self._now
                elif connection.is_idle and self._now - connection.idle_since >= IDLE_SECONDS:
                    (connection.cut_off if connection.is_closing else connection.close)()

    # ---- for connections

    def opened(self, connection: ClientConnection) -> None:
        """See ``ServerSide``."""
        self._open.add(connection)
        if len(self._open) - len(self._over) > self._bound:
            self._over.add(connection)
            if len(self._over) == 1:
                log.warning("gateway.too_many_connections", connections=self._bound)
            if len(self._over) > most_refused(self._bound):
                connection.cut_off()
            else:
                asyncio.get_running_loop().call_later(REFUSAL_SECONDS, connection.cut_off)
        connection.idle_since = self._now = self._clock()
        self._rounds.join(connection, self._now)

    def closed(self, connection: ClientConnection) -> None:
        """See ``ServerSide``."""
        self._open.discard(connection)
        self._over.discard(connection)
        self._rounds.leave(connection)
        self._changed.set()
        if self._acceptor is not None:
            self._acceptor.show()

    def waits(self, connection: ClientConnection) -> None:
        """See ``ServerSide``."""
        connection.idle_since = self._now

    def handle(
        self, head: RequestHead, response: Http1Response, connection: ClientConnection
    ) -> RequestHandler:
        """See ``ServerSide``."""
        app = self._app
        if connection in self._over:
            app, response.keep_alive = self._refuse, False
        elif self._inference is not None and self._inference.takes(head):
            response.added = self._inference.added_to_answer(head)
            return self._inference.begin(head, response)
        request = AsgiRequest(app, head, response, connection)
        self._tasks.start_soon(request.run)
        return request

    async def _refuse(self, scope: Scope, _receive: Receive, send: Send) -> None:
        error, dialect = too_many_connections(self._bound), dialect_of(scope["path"])
        headers = dialect.headers(error)
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": dialect.body(error)})


async def _pass_on(shutdown: anyio.Event, stop: anyio.Event) -> None:
    """Set ``stop`` when ``shutdown`` is set, or at a cancellation."""
    try:
        await shutdown.wait()
    finally:
        stop.set()
