"""Connects to a replica's engine: by its socket on this machine, a stream to its worker, or a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

import anyio

from sllm_actors.actors import ActorError, NodeId
from sllm_actors.api_error import ApiError
from sllm_actors.descriptors import is_out_of_descriptors
from sllm_actors.engines.external import ClientContexts, KeyProblem, Keys, ServerAccess, why_unreachable
from sllm_actors.engines.messages import OpenEngine
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.route import Upstream
from sllm_actors.transport import TransportError

from .broke import EngineBroke, broken_by
from .connection import EngineConnection
from .pool import EnginePool, PoolKey
from .target import Target

OpenStream: TypeAlias = Callable[[NodeId, OpenEngine, asyncio.Protocol], object]
"""Opens a stream to an engine through the worker that is named first, and gives it to the protocol at once.

``connection_lost`` gets ``TunnelRefused`` or ``NodeFull`` if the worker does not accept it; what was written
has then reached no engine. Raises ``TransportError`` or ``ActorError`` where it cannot even be tried.
"""

Start: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Starts a task that somebody owns."""

KEY_SECONDS = 5.0
"""How long a connection to an external server with a key is kept, idle or not: the key may change."""


class Waiting(Protocol):
    """Whoever waits for a connection. One of these is called, once, perhaps before ``connect`` returns."""

    def connected(self, connection: EngineConnection) -> None:
        """The connection is made; it is the waiting one's own until it has carried a request."""

    def not_connected(self, problem: EngineBroke | ApiError) -> None:
        """No connection was made; an ``ApiError`` says that this process has no descriptors left."""


class Connector:
    """Gives connections to engines: kept ones, or new ones.

    External servers are connected to directly: proxies of the environment are not used.

    Args:
        machine: This machine and boot, as workers report it.
        open_stream: Reaches engines on other machines.
        timeout: Seconds that opening a connection may take; external servers have their own
            ``connect_timeout``.
        start: Starts the tasks that open connections.
        clock: Returns the time in seconds, by a monotonic clock.
    """

    def __init__(
        self,
        machine: str,
        open_stream: OpenStream,
        timeout: float,
        *,
        start: Start,
        clock: Callable[[], float],
    ) -> None:
        self.pool = EnginePool(clock)
        self._machine = machine
        self._open_stream = open_stream
        self._timeout = timeout
        self._start = start
        self._clock = clock
        self._keys = Keys("this gateway")
        self._contexts = ClientContexts()

    def idle(self, upstream: Upstream) -> EngineConnection | None:
        """Return a kept connection to an engine, which is then the caller's, or None."""
        key = (upstream.node, upstream.address)
        connection = self.pool.take(key)
        if (
            connection is not None
            and upstream.server is not None
            and self._is_old(connection, upstream.server)
        ):
            connection.abort()
            return None
        return connection

    def connect(self, upstream: Upstream, waiting: Waiting) -> None:
        """Open a new connection to an engine, and give it to ``waiting``."""
        kind = upstream.address.partition(":")[0]
        local = upstream.machine and upstream.machine == self._machine
        if upstream.server is None and kind in ("unix", "loopback") and not local:
            self._through_worker(upstream, waiting)
        else:
            self._start(partial(self._connect, upstream, waiting))

    def _through_worker(self, upstream: Upstream, waiting: Waiting) -> None:
        connection = self._make(upstream, Target(headers=_key_header(upstream.key)))
        try:
            self._open_stream(NodeId(upstream.node), OpenEngine(upstream.id), connection)
        except (TransportError, ActorError) as error:
            waiting.not_connected(broken_by(error, "no connection", unreached=True))
            return
        waiting.connected(connection)

    async def _connect(self, upstream: Upstream, waiting: Waiting) -> None:
        server = upstream.server
        timeout = self._timeout if server is None else server.connect_timeout
        try:
            with anyio.fail_after(timeout):
                connection = await self._open(upstream)
        except TimeoutError:
            waiting.not_connected(self._unreached(upstream, f"no connection within {timeout:g} s"))
        except KeyProblem as problem:
            waiting.not_connected(self._unreached(upstream, str(problem)))
        except OSError as error:
            if is_out_of_descriptors(error):
                waiting.not_connected(errors.out_of_descriptors("this gateway has no file descriptors left"))
            elif server is None and isinstance(error, FileNotFoundError | PermissionError):
                # The worker is in another container of this machine: only a stream leads to its socket.
                self._through_worker(upstream, waiting)
            else:
                why = f"no connection ({error})" if server is None else why_unreachable(error)
                waiting.not_connected(self._unreached(upstream, why))
        else:
            waiting.connected(connection)

    async def _open(self, upstream: Upstream) -> EngineConnection:
        kind, _, place = upstream.address.partition(":")
        loop = asyncio.get_running_loop()
        if kind == "unix":
            target = Target(headers=_key_header(upstream.key))
            _, connection = await loop.create_unix_connection(partial(self._make, upstream, target), place)
        elif kind == "loopback":
            target = Target(headers=_key_header(upstream.key))
            make = partial(self._make, upstream, target)
            _, connection = await loop.create_connection(make, "127.0.0.1", int(place))
        else:
            # A worker of an older version reports nothing of a server but its address.
            connection = await self._open_address(upstream, upstream.server or ServerAccess())
        return connection

    async def _open_address(self, upstream: Upstream, server: ServerAccess) -> EngineConnection:
        url = urlsplit(upstream.address)
        secure = url.scheme == "https"
        key = await self._keys.of(server)
        named = tuple((name.lower().encode(), value.encode()) for name, value in server.headers.items())
        target = Target(url.netloc.encode(), url.path.rstrip("/").encode(), named + _key_header(key))
        context = await self._contexts.of(server.ca_file) if secure else None
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(self._make, upstream, target),
            url.hostname or "",
            url.port or (443 if secure else 80),
            ssl=context,
            server_hostname=url.hostname if secure else None,
        )
        return connection

    def _make(self, upstream: Upstream, target: Target) -> EngineConnection:
        key: PoolKey = (upstream.node, upstream.address)
        return self.pool.new(key, target)

    def _unreached(self, upstream: Upstream, why: str) -> EngineBroke:
        if upstream.server is None:
            return EngineBroke(why, unreached=True)
        what = f"{upstream.address} cannot be reached from this gateway: {why}"
        return EngineBroke(what, unreached=True, external=True)

    def _is_old(self, connection: EngineConnection, server: ServerAccess) -> bool:
        keyed = bool(server.key_env or server.key_file)
        return keyed and self._clock() - connection.made_at > KEY_SECONDS


def _key_header(key: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"authorization", f"Bearer {key}".encode()),) if key else ()
