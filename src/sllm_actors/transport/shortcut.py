"""Writes to a plain socket from synchronous code, past the stream that owns it, while that stream has nothing
to do.

An event loop's stream costs a task switch and a turn of the loop for each write. When its writer is idle, its
buffer is empty, and a small write that the kernel takes at once cannot overtake anything.
"""

from __future__ import annotations

import os
import socket

from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from .sockets import raw_socket


class Shortcut:
    """A second descriptor of a connected socket, for writing without waiting.

    Args:
        twin: Owned by this one. The connection is closed only when both descriptors are.
    """

    def __init__(self, twin: socket.socket) -> None:
        self._twin = twin

    @classmethod
    def of(cls, stream: ByteStream) -> Shortcut | None:
        """Return the shortcut of a stream, if it is a plain socket."""
        raw = raw_socket(stream)
        if raw is None or raw.fileno() < 0 or isinstance(stream, TLSStream):
            return None
        twin = socket.socket(fileno=os.dup(raw.fileno()))
        twin.setblocking(False)
        return cls(twin)

    def write(self, data: bytes) -> int:
        """Write what the kernel takes at once and return how much that was; errors are left to the stream."""
        try:
            return self._twin.send(data)
        except OSError:
            return 0

    def close(self) -> None:
        """Close the second descriptor."""
        self._twin.close()
