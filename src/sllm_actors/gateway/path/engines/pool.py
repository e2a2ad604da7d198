"""The connections to engines, and which of them carry no request just now. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sllm_actors.gateway.path.deadlines import Rounds

from .connection import EngineConnection
from .target import Target

PoolKey = tuple[str, str]
"""The worker and the address of an engine: what a request needs to be sent to it."""

IDLE_SECONDS = 3.5
"""How long a connection is kept without a request, and ``LOOK_SECONDS`` more: vLLM and llama.cpp keep theirs
for 5 s."""

LOOK_SECONDS = 1.0
"""How often each connection is looked at."""


class EnginePool:
    """Keeps idle connections by engine, the last used on top, and closes those that are idle for too long.

    Args:
        clock: Returns the time in seconds, by a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._idle: dict[PoolKey, list[EngineConnection]] = {}
        self._rounds: Rounds[EngineConnection] = Rounds(LOOK_SECONDS)

    def take(self, key: PoolKey) -> EngineConnection | None:
        """Return an idle connection to an engine, which is no longer in the pool, or None."""
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            connection.idle_since = None
            if connection.is_open:
                return connection
        return None

    def new(self, key: PoolKey, target: Target) -> EngineConnection:
        """Return a new connection to an engine, to be made now; it comes into the pool when it is idle."""
        return EngineConnection(
            target, idle=partial(self._put, key), closed=partial(self._forget, key), made_at=self._clock()
        )

    def close_idle(self, now: float) -> None:
        """Close the connections whose time is over."""
        for connection in self._rounds.due(now):
            since = connection.idle_since
            if since is not None and now - since >= IDLE_SECONDS:
                connection.abort()

    def close(self) -> None:
        """Close all idle connections."""
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.abort()

    def _put(self, key: PoolKey, connection: EngineConnection) -> None:
        self._idle.setdefault(key, []).append(connection)
        now = connection.idle_since = self._clock()
        if connection.used == 1:  # not before: one that is never made is never lost either
            self._rounds.join(connection, now)

    def _forget(self, key: PoolKey, connection: EngineConnection) -> None:
        self._rounds.leave(connection)
        idle = self._idle.get(key)
        if idle is None:
            return
        if connection in idle:
            idle.remove(connection)
        if not idle:
            del self._idle[key]
