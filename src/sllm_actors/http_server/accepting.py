"""Takes new connections from a listening socket, in turns with the other processes that share it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

from sllm_actors import descriptors

from .seats import Seats
from .turns import Turns

log = structlog.get_logger()

AT_ONCE = 64
"""Connections that are taken at most before the loop goes on with those that it has."""

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
        connections: Returns how many connections are open here, those included that ``take`` was just given.
        seats: Shows them to the processes that share the listener, so that each takes as many as the others;
            None where no other process does.
    """

    def __init__(
        self,
        listener: socket.socket,
        take: Callable[[socket.socket], object],
        *,
        connections: Callable[[], int],
        seats: Seats | None = None,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._take = take
        self._connections = connections
        self._seats = seats
        self._turns = Turns()
        self._loop = asyncio.get_running_loop()
        self._resumption: asyncio.TimerHandle | None = None
        self._lacking = False
        self.show()
        self._resume()

    def show(self) -> None:
        """Show the other processes how many connections are open here: to be called when one was closed."""
        if self._seats is not None:
            self._seats.show(self._connections())

    def stop(self) -> None:
        """Take the connections that wait already, at most ``LAST_TAKEN``, then close the socket here.

        A client that had connected before is answered, even if this process was the socket's last.
        """
        if self._resumption is not None:
            self._resumption.cancel()
        self._loop.remove_reader(self._listener)
        if self._seats is not None:
            self._seats.leave()
            self._seats = None
        for _ in range(LAST_TAKEN):
            if not self._accept():
                break
        if self._resumption is not None:
            self._resumption.cancel()
        self._listener.close()

    def _resume(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._listener, self._ready)

    def _ready(self) -> None:
        for _ in range(AT_ONCE):
            if self._seats is not None:
                own = self._connections()
                self._seats.show(own)
                wait = self._turns.wait(own, self._seats.siblings(), self._loop.time())
                if wait:
                    self._pause(wait)
                    return
            if not self._accept():
                break
        self.show()

    def _accept(self) -> bool:
        """Take one connection; return whether there may be more."""
        try:
            connection, _ = self._listener.accept()
        except _NONE_WAITS:
            return False
        except OSError as error:
            if error.errno in _LACKS:
                self._complain(error)
                self._pause(PAUSE)
                return False
            return True  # that client has left already
        self._lacking = False
        connection.setblocking(False)
        self._take(connection)
        return True

    def _complain(self, error: OSError) -> None:
        if not self._lacking:
            self._lacking = True
            log.warning("accepting.paused", seconds=PAUSE, reason=descriptors.explain(error))

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._resumption = self._loop.call_later(seconds, self._resume)
