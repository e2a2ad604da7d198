"""A port for a process that has to be told one."""

from __future__ import annotations

import socket

_kept: list[socket.socket] = []


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, and that the system gives to nobody else.

    A socket that is bound to it, and does not listen, keeps it for as long as this process runs. Whoever
    listens with ``SO_REUSEADDR`` or ``SO_REUSEPORT`` set, as all servers do, gets it nonetheless, again and
    again; a connection to it is refused while nobody does.
    """
    keeper = socket.socket()
    _kept.append(keeper)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        keeper.setsockopt(socket.SOL_SOCKET, option, 1)
    keeper.bind(("127.0.0.1", 0))
    port: int = keeper.getsockname()[1]
    return port
