"""A client of HTTP/1.1 that can do what no library does: stop anywhere, read slowly, send what is broken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Self

from attrs import define, frozen

LARGEST_LINE = 2**20  # bytes


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a POST request with a JSON body."""
    fields = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    return head(f"POST {path}", {**fields, **(headers or {})}) + body


def head(target: str, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a request's head; ``target`` is its method and path."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{target} HTTP/1.1\r\n{lines}\r\n".encode()


@frozen
class Answer:
    """A response whose head has come."""

    status: int
    headers: Mapping[str, str]
    _reader: asyncio.StreamReader

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            EOFError: The connection ended before the body did.
        """
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self._reader.readexactly(int(self.headers["content-length"]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)

    async def whole(self) -> bytes:
        """Return the whole body; raise ``EOFError`` where it is cut off."""
        return b"".join([piece async for piece in self.pieces()])


@define
class Connection:
    """One connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int, *, window: int | None = None) -> Self:
        """Connect; ``window`` is how many bytes the kernel takes for a client that does not read."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            if window is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return cls(
            *await asyncio.open_connection(sock=sock, limit=LARGEST_LINE if window is None else window)
        )

    async def send(self, data: bytes) -> None:
        """Send bytes; wait while the server does not read them."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Read the head of a response."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        return Answer(int(lines[0].split()[1]), {name.lower(): value for name, value in pairs}, self.reader)

    async def close(self) -> None:
        """Close in good order."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def abort(self) -> None:
        """Close at once: what was not read or sent is lost."""
        self.writer.transport.abort()
        await self.close()
