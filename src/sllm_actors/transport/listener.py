"""Accepts connections, as many as the bounds allow, and gives each a task of its own."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import structlog
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint

from sllm_actors.descriptors import explain

from .settings import TransportSettings
from .sockets import remote_host
from .tcp_stream import TcpStream

log = structlog.get_logger("sllm_actors.transport")

BACKLOG = 1024
"""Connections that the kernel keeps until this process accepts them."""

OTHER_LANES = 2
"""Lanes of a peer beside its tunnel lanes: control and data."""

PAUSE = 0.05
"""Seconds between attempts while the process has no descriptors left."""


class Doorman:
    """Counts accepted connections, and says when there are too many.

    Args:
        settings: The bounds.
        linked: Returns how many peers at a host are linked with this node.

    Attributes:
        open: Accepted and not yet closed.
        shaking: Of those, in their handshake.
        turned_away: Closed at once because a bound was reached.
    """

    def __init__(self, settings: TransportSettings, linked: Callable[[str], int]) -> None:
        self._settings = settings
        self._linked = linked
        self._shaking_from: Counter[str] = Counter()
        self.open = 0
        self.shaking = 0
        self.turned_away = 0

    def turns_away(self, host: str) -> bool:
        """Whether one more, from that address, would be too many.

        Anybody can open connections and say nothing: one address must not take the room of all others. Who
        is linked already has room of its own, for as many lanes as it may open.
        """
        settings, shaking = self._settings, self._shaking_from[host]
        full = self.shaking >= settings.max_handshakes or shaking >= settings.max_handshakes_per_host
        if full and self.open < settings.max_connections:
            return shaking >= self._linked(host) * (OTHER_LANES + settings.tunnel_lanes)
        return full or self.open >= settings.max_connections

    @contextmanager
    def handshake(self, host: str) -> Iterator[None]:
        """Count a handshake while it lasts."""
        self.shaking += 1
        self._shaking_from[host] += 1
        try:
            yield
        finally:
            self.shaking -= 1
            self._shaking_from[host] -= 1
            if not self._shaking_from[host]:
                del self._shaking_from[host]


async def accept_forever(
    raw: socket.socket, doorman: Doorman, tasks: TaskGroup, handle: Callable[[ByteStream], Awaitable[None]]
) -> None:
    """Accept on a bound socket until cancelled; the socket is closed then.

    Args:
        raw: The bound socket.
        doorman: Counts the connections.
        tasks: Gets the task of each connection, which outlives this listener.
        handle: Takes each connection, and owns its stream.
    """
    raw.listen(BACKLOG)
    raw.setblocking(False)

    async def admit(stream: ByteStream) -> None:
        try:
            await handle(stream)
        finally:
            doorman.open -= 1

    try:
        while True:
            stream = await _accept(raw)
            if doorman.turns_away(remote_host(stream)):
                doorman.turned_away += 1
                await anyio.aclose_forcefully(stream)
                continue
            doorman.open += 1
            tasks.start_soon(admit, stream)
    finally:
        raw.close()


async def _accept(raw: socket.socket) -> ByteStream:
    await checkpoint()
    failing = False
    while True:
        try:
            return TcpStream(raw.accept()[0])
        except BlockingIOError:
            await anyio.wait_readable(raw)
        except OSError as error:
            if not failing:  # one line for as long as it lasts
                log.warning("transport.accept_failed", error=explain(error))
            failing = True
            await anyio.sleep(PAUSE)
