"""A byte stream over a unix socket by asyncio's own transport.

anyio's waits on the bare socket, and logs an error when data comes in the moment in which the wait is
cancelled: here a client that hangs up in the middle of a stream. A gateway runs on asyncio anyway.
"""

from __future__ import annotations

import asyncio

import anyio
from anyio.abc import ByteStream


class UnixStream(ByteStream):
    """Made by ``connect_unix``."""

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
    """Connect.

    Raises:
        OSError: There is nobody.
    """
    return UnixStream(*await asyncio.open_unix_connection(path))
