"""A connected socket as a byte stream that synchronous code can use too.

The event loop's own streams read ahead, and cost a task switch and a turn of the loop for each read and each
write. A lone ask crosses four of them. This one keeps nothing but the socket: whoever finds it readable may
read, and whoever has something to say may write what the kernel takes at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled


@runtime_checkable
class Immediate(Protocol):
    """A byte stream that synchronous code can write to as well, while the task that writes it is idle."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Hand the kernel as many bytes as it takes at once, and return how many that was.

        Raises:
            anyio.BrokenResourceError: The connection is broken.
            anyio.ClosedResourceError: This end was closed.
        """


class TcpStream(ByteStream):
    """A connected stream socket. One task may send and one may receive at a time.

    A cancelled ``send`` leaves the wire with an unknown part of the bytes.

    Args:
        raw: A connected stream socket, owned by this from now on.
    """

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._raw = raw
        self._remote: Any = "unknown"
        with contextlib.suppress(OSError):  # it may be gone already
            self._remote = raw.getpeername()
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return some of the bytes that have arrived, waiting for the first.

        Raises:
            anyio.EndOfStream: The other end has closed its side.
            anyio.BrokenResourceError: The connection is broken.
            anyio.ClosedResourceError: This end was closed.
        """
        with self._receiving:
            await checkpoint_if_cancelled()
            data = self._receive_nowait(max_bytes)
            if data is not None:
                await cancel_shielded_checkpoint()
            while data is None:
                await anyio.wait_readable(self._raw)
                data = self._receive_nowait(max_bytes)
            return data

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting while the kernel has no room for them; raises what ``send_nowait`` raises."""
        with self._sending:
            await checkpoint_if_cancelled()
            left = memoryview(item)[self.send_nowait(item) :]
            if not left:
                await cancel_shielded_checkpoint()
            while left:
                await anyio.wait_writable(self._raw)
                left = left[self.send_nowait(left) :]

    def send_nowait(self, data: bytes | memoryview) -> int:
        """See ``Immediate``."""
        try:
            return self._raw.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._failure() from error

    async def pump(self, take: Callable[[bytes | memoryview], None], max_bytes: int) -> None:
        """Give ``take`` what arrives, at most ``max_bytes`` at a time, until cancelled.

        On asyncio the event loop calls it without waking a task, and it gets a view of a buffer that is used
        again when it returns. It must not block.

        Raises:
            Exception: What ``receive`` or ``take`` raised, which is the end of it.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            while True:
                take(await self.receive(max_bytes))
        with self._receiving:
            ended = loop.create_future()
            buffer = memoryview(mmap.mmap(-1, max_bytes))  # takes memory only as far as it is ever filled

            def readable() -> None:
                if ended.done():  # cancelled: the reader is about to be removed
                    return
                try:
                    size = self._receive_into(buffer)
                    if size:
                        take(buffer[:size])
                except Exception as error:  # noqa: BLE001 - raised below, where somebody waits
                    if not ended.done():
                        ended.set_exception(error)

            loop.add_reader(self._raw, readable)
            try:
                await ended
            finally:
                loop.remove_reader(self._raw)

    async def send_eof(self) -> None:
        """Close this side; the other end can still send."""
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_WR)
        await checkpoint()

    async def aclose(self) -> None:
        """Close; what the kernel has taken is still delivered."""
        if self._raw.fileno() >= 0:
            anyio.notify_closing(self._raw)
            self._raw.close()
        await checkpoint()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The socket and the addresses of both ends."""
        return {
            SocketAttribute.raw_socket: lambda: self._raw,
            SocketAttribute.local_address: self._raw.getsockname,
            SocketAttribute.remote_address: lambda: self._remote,
        }

    def _receive_nowait(self, max_bytes: int) -> bytes | None:
        """Return what has arrived, or None if that is nothing; raises what ``receive`` raises."""
        try:
            data = self._raw.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._failure() from error
        if not data:
            raise anyio.EndOfStream
        return data

    def _receive_into(self, buffer: memoryview) -> int:
        """As ``_receive_nowait``, but return how many bytes were put into the buffer."""
        try:
            size = self._raw.recv_into(buffer)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._failure() from error
        if not size:
            raise anyio.EndOfStream
        return size

    def _failure(self) -> Exception:
        return anyio.BrokenResourceError() if self._raw.fileno() >= 0 else anyio.ClosedResourceError()
