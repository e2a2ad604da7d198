"""A byte stream over a unix socket, by asyncio's own transport.

anyio has one too. It waits on the bare socket, and logs an error when data arrives in the moment in which
that wait is cancelled; here that happens whenever a client hangs up in the middle of a stream. A gateway
always runs on asyncio, so its transport can be used.
"""

from __future__ import annotations

import asyncio

import anyio
from anyio.abc import ByteStream


class UnixStream(ByteStream):
    """A connection to a unix socket; ``connect_unix`` makes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ``anyio.abc.ByteReceiveStream``."""
        try:
            data = await self._reader.read(max_bytes)
        except OSError as error:
            raise anyio.BrokenResourceError from error
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """See ``anyio.abc.ByteSendStream``."""
        try:
            self._writer.write(item)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """See ``anyio.abc.ByteStream``."""
        self._writer.write_eof()

    async def aclose(self) -> None:
        """Close at once; what was not sent yet is dropped. Never waits."""
        self._writer.transport.abort()


async def connect_unix(path: str) -> UnixStream:
    """Connect to the unix socket at ``path``.

    Raises:
        OSError: Nothing accepts connections there.
    """
    return UnixStream(*await asyncio.open_unix_connection(path))
