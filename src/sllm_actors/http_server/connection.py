"""One connection of a client, on hypercorn's protocols."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import anyio
import structlog
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.typing import ConnectionState

from sllm_actors.api_error import ApiError

from .bounds import IDLE_SECONDS, LARGEST_HEAD, NEW_SECONDS
from .http1 import BoundedH11
from .http2 import MOST_STREAMS, MendedH2
from .tasks import ASGI, ConnectionTasks

log = structlog.get_logger()

HANDSHAKE_SECONDS = 10.0
"""How long a client may take for its TLS handshake."""

GOODBYE_SECONDS = 10.0
"""How long a client may take to read what is left and to answer the end of TLS."""

_READ = 64 * 2**10


def hypercorn_config() -> Config:
    """Return the settings of hypercorn's protocols."""
    config = Config()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = config.h2_max_header_list_size = LARGEST_HEAD
    config.h2_max_concurrent_streams = MOST_STREAMS
    config.keep_alive_max_requests = 2**62  # hypercorn cuts off the requests beside the last one
    return config


class HttpConnection:
    """Serves the requests of one connection, one after the other or, by HTTP/2, beside each other.

    Args:
        app: The application.
        config: From ``hypercorn_config``.
        is_draining: Whether an answer that begins now should be the last.
        on_change: Called when ``is_busy`` may have become false.
    """

    def __init__(
        self, app: ASGI, config: Config, is_draining: Callable[[], bool], on_change: Callable[[], None]
    ) -> None:
        self._app = app
        self._config = config
        self._is_draining = is_draining
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._protocol: BoundedH11 | MendedH2 | None = None
        self._tasks: ConnectionTasks | None = None
        self._novelty: asyncio.TimerHandle | None = self._loop.call_later(NEW_SECONDS, self._settle)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way, or is to be expected because the connection is new."""
        return self._novelty is not None or (self._tasks is not None and self._tasks.running > 0)

    async def run(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve until the client leaves, or the connection was idle for ``IDLE_SECONDS``, or ``close``."""
        reader = asyncio.StreamReader(loop=self._loop)
        incoming = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        try:
            timeouts = (
                {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": GOODBYE_SECONDS}
                if tls
                else {}
            )
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: incoming, accepted, ssl=tls, **timeouts
            )
        except (OSError, asyncio.CancelledError) as error:
            self._settle()
            accepted.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            log.debug("http.no_handshake", reason=str(error))
            return
        self._writer = asyncio.StreamWriter(transport, incoming, reader, self._loop)
        try:
            await self._serve(reader, transport)
        finally:
            self._stop_timer()
            self._settle()
            transport.close()

    def give_up(self, error: ApiError) -> None:
        """End the requests whose answers have not begun, each with this error."""
        if self._tasks is not None:
            self._tasks.give_up(error)

    async def close(self) -> None:
        """End the connection; requests under way are cut off."""
        if isinstance(self._protocol, MendedH2):
            with anyio.move_on_after(GOODBYE_SECONDS):
                await self._protocol.goodbye()
        self._hang_up()

    def abort(self) -> None:
        """End the connection without waiting for what its client has not taken."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, transport: asyncio.Transport) -> None:
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        tls = transport.get_extra_info("ssl_object")
        is_http2 = tls is not None and tls.selected_alpn_protocol() == "h2"
        async with anyio.create_task_group() as group:
            tasks = self._tasks = ConnectionTasks(
                group,
                on_idle=self._became_idle,
                on_busy=self._became_busy,
                is_draining=self._is_draining,
                on_failure=self._hang_up,
            )
            protocol = self._protocol = (MendedH2 if is_http2 else BoundedH11)(
                cast("Any", self._app),
                self._config,
                WorkerContext(None),
                cast("Any", tasks),
                ConnectionState({}),
                tls is not None,
                peer[:2] if isinstance(peer, tuple) else None,
                own[:2] if isinstance(own, tuple) else None,
                self._send,
            )
            await protocol.initiate()
            self._start_timer()
            try:
                await self._read(reader, protocol, tasks)
            finally:
                with anyio.CancelScope(shield=True):
                    await protocol.handle(Closed())

    async def _read(
        self, reader: asyncio.StreamReader, protocol: BoundedH11 | MendedH2, tasks: ConnectionTasks
    ) -> None:
        while True:
            try:
                data = await reader.read(_READ)
            except OSError:
                return
            try:
                await protocol.handle(RawData(data))
            except Exception:
                log.exception("http.connection_failed")
                return
            if not data:
                return
            if isinstance(protocol, BoundedH11) and tasks.last_inbox is not None:
                await tasks.last_inbox.wait_for_room()

    async def _send(self, event: Event) -> None:
        assert self._writer is not None
        if isinstance(event, RawData):
            async with self._writing:
                try:
                    self._writer.write(event.data)
                    await self._writer.drain()
                except (OSError, RuntimeError):
                    assert self._protocol is not None
                    await self._protocol.handle(Closed())
        elif isinstance(event, Closed):
            self._hang_up()

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _became_busy(self) -> None:
        self._stop_timer()
        self._settle()

    def _settle(self) -> None:
        """The connection is not new any more."""
        if self._novelty is not None:
            self._novelty.cancel()
            self._novelty = None
            self._on_change()

    def _became_idle(self) -> None:
        self._on_change()
        if isinstance(self._protocol, MendedH2) and self._is_draining() and self._tasks is not None:
            self._tasks.spawn(self.close)
        else:
            self._start_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._idle = self._loop.call_later(IDLE_SECONDS, self._hang_up)

    def _stop_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
