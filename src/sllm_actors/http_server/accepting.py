"""Takes new connections from a listening socket, which other processes may share."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

from sllm_actors import descriptors

log = structlog.get_logger()

AT_ONCE = 1
"""Connections that are taken each time when the loop finds some waiting.

Each process that shares the socket is woken. One that emptied the queue, as event loops do by themselves,
would have a burst of clients for itself alone, with its siblings idle.
"""

PAUSE = 1.0
"""Seconds without accepting after the system had no descriptor or memory for a connection."""

LAST_TAKEN = 4096
"""How many of the connections that wait are still taken at the stop."""

_LACKS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NONE_WAITS = (BlockingIOError, InterruptedError)


class Acceptor:
    """Accepts connections on the running asyncio loop until it is stopped.

    Args:
        listener: A bound and listening socket. It is made non-blocking, and closed by ``stop``.
        take: Called with each connection, which is non-blocking, and the callee's to close. Must not block or
            raise.
    """

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket], object]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._resumption: asyncio.TimerHandle | None = None
        self._lacking = False
        self._resume()

    def stop(self) -> None:
        """Take the connections that wait already, at most ``LAST_TAKEN``, then close the socket here.

        A client that had connected before is answered, even if this process was the socket's last.
        """
        if self._resumption is not None:
            self._resumption.cancel()
        self._loop.remove_reader(self._listener)
        for _ in range(LAST_TAKEN):
            if not self._accept():
                break
        self._listener.close()

    def _resume(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._listener, self._ready)

    def _ready(self) -> None:
        for _ in range(AT_ONCE):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Take one connection; return whether there may be more."""
        try:
            connection, _ = self._listener.accept()
        except _NONE_WAITS:
            return False
        except OSError as error:
            if error.errno in _LACKS:
                self._pause(error)
                return False
            return True  # that client has left already
        self._lacking = False
        connection.setblocking(False)
        self._take(connection)
        return True

    def _pause(self, error: OSError) -> None:
        if not self._lacking:
            self._lacking = True
            log.warning("accepting.paused", seconds=PAUSE, reason=descriptors.explain(error))
        self._loop.remove_reader(self._listener)
        self._resumption = self._loop.call_later(PAUSE, self._resume)
