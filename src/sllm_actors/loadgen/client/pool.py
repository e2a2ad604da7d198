"""Connections to the server: as many as requests are under way, up to a bound; idle ones are used again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from .connection import ConnectionOwner, LoadConnection, UnderWay
from .target import Dialler

STALE_SECONDS = 3.0
"""An idle connection that is older is not used again: many servers close them after five seconds, and a
request that crosses with that would be lost."""


class ConnectionPool:
    """Gives each request a connection.

    Args:
        dialler: Makes connections.
        most: How many there may be.
        tasks: Where connections are made.
        owner: Is told what happens on them.
        failed: Is told that a request got no connection, and why.

    Attributes:
        waited: How many requests had to wait because there were ``most`` connections.
    """

    def __init__(
        self,
        dialler: Dialler,
        *,
        most: int,
        tasks: asyncio.TaskGroup,
        owner: ConnectionOwner,
        failed: Callable[[UnderWay, str], None],
    ) -> None:
        self._dialler = dialler
        self._most = most
        self._tasks = tasks
        self._owner = owner
        self._failed = failed
        self._idle: list[LoadConnection] = []
        self._open: set[LoadConnection] = set()
        self._waiting: deque[UnderWay] = deque()
        self._dials: set[asyncio.Task[None]] = set()
        self._closed = False
        self.waited = 0

    def send(self, under_way: UnderWay) -> None:
        """Send a request on an idle connection, or on the next one that there is."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if under_way.begun - connection.idle_since < STALE_SECONDS:
                connection.send(under_way)
                return
            self._drop(connection)
        self._waiting.append(under_way)
        if len(self._open) + len(self._dials) < self._most:
            self._begin_dial()
        else:
            self.waited += 1

    def give_back(self, connection: LoadConnection) -> None:
        """Take a connection back whose answer has come."""
        if connection.closing:
            self.forget(connection)
        elif self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def forget(self, connection: LoadConnection) -> None:
        """Take note that a connection is lost."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._dial_for_waiting()

    def withdraw(self, under_way: UnderWay) -> None:
        """Take a request back: hang up where it has been sent."""
        if under_way.connection is not None:
            self._drop(under_way.connection)
        elif under_way in self._waiting:
            self._waiting.remove(under_way)

    def close(self) -> None:
        """Hang up everywhere. Requests that wait stay as they are."""
        self._closed = True
        self._waiting.clear()
        for dial in self._dials:
            dial.cancel()
        for connection in [*self._open]:
            connection.abort()
        self._open.clear()
        self._idle.clear()

    def _begin_dial(self) -> None:
        dial = self._tasks.create_task(self._dial())
        self._dials.add(dial)
        dial.add_done_callback(self._dialled)

    def _dialled(self, dial: asyncio.Task[None]) -> None:
        self._dials.discard(dial)
        if not self._closed:
            self._dial_for_waiting()

    def _drop(self, connection: LoadConnection) -> None:
        connection.abort()
        self.forget(connection)

    def _dial_for_waiting(self) -> None:
        if len(self._waiting) > len(self._dials) and len(self._open) + len(self._dials) < self._most:
            self._begin_dial()

    async def _dial(self) -> None:
        connection = LoadConnection(self._owner)
        try:
            await self._dialler.dial(connection)
        except OSError as error:
            if self._waiting:
                self._failed(self._waiting.popleft(), _reason(error))
            return
        if self._closed:
            connection.abort()
            return
        self._open.add(connection)
        connection.idle_since = monotonic()
        self.give_back(connection)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no connection within the time for it"
    return "connection refused" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
