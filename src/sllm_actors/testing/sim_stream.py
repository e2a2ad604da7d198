"""One end of a simulated TCP connection: a byte stream that blocks, breaks and ends like a socket's."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute

from .sim_pipe import FIN, Pipe


class SimStream(ByteStream):
    """One end of a simulated connection. Made by ``SimNet`` only.

    ``send`` returns when the kernel has taken everything, not when it has arrived, and waits while the send
    buffer is full; cancelled, it leaves the wire with an unknown part of the bytes. One task may send and one
    may receive at a time.

    Args:
        local: Host and port of this end.
        remote: Host and port of the other end.
        connection: A number that both ends share.
        rng: Decides how bytes are split.
        on_close: Called once, when this end is gone for whatever reason.
    """

    out: Pipe
    """The direction that this end sends on."""
    incoming: Pipe
    """The direction that it receives from."""

    def __init__(
        self,
        local: tuple[str, int],
        remote: tuple[str, int],
        connection: int,
        rng: random.Random,
        on_close: Callable[[SimStream], None],
    ) -> None:
        self.local = local
        self.remote = remote
        self.connection = connection
        self._rng = rng
        self._on_close = on_close
        self._inbox = bytearray()
        self._eof = False
        self._shut = False  # this end sends nothing any more
        self._closed = False
        self._vanished = False
        self._broken: str | None = None
        self._readable = anyio.Event()
        self._writable = anyio.Event()
        self._receiving = anyio.ResourceGuard("receiving from")
        self._sending = anyio.ResourceGuard("sending to")

    def __repr__(self) -> str:
        return f"<SimStream {self.connection} {self.local[0]} to {self.remote[0]}>"

    # -- what a program does -------------------------------------------------------------------

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return some of the bytes that have arrived, waiting for the first.

        Raises:
            anyio.EndOfStream: The other end has closed its side.
            anyio.BrokenResourceError: The connection is broken.
            anyio.ClosedResourceError: This end was closed.
        """
        with self._receiving:
            await anyio.lowlevel.checkpoint()
            while True:
                if self._closed:
                    raise anyio.ClosedResourceError
                if self._inbox:
                    return self._take(max_bytes)
                if self._broken is not None:
                    raise anyio.BrokenResourceError from _reset(self._broken)
                if self._eof:
                    raise anyio.EndOfStream
                self._readable = anyio.Event()
                await self._readable.wait()

    async def send(self, item: bytes) -> None:
        """Hand bytes to the kernel, waiting while its buffer is full; raises what ``send_nowait`` raises."""
        with self._sending:
            await anyio.lowlevel.checkpoint()
            at = 0
            while at < len(item):
                at += self.send_nowait(memoryview(item)[at:])
                if at < len(item):
                    self._writable = anyio.Event()
                    await self._writable.wait()

    def send_nowait(self, item: bytes | memoryview) -> int:
        """Hand the kernel as many bytes as it takes at once, and return how many that was.

        Raises:
            anyio.BrokenResourceError: The connection is broken.
            anyio.ClosedResourceError: This end was closed.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        if self._broken is not None:
            raise anyio.BrokenResourceError from _reset(self._broken)
        if self._shut:
            raise anyio.BrokenResourceError from OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        size = 0 if self._vanished else min(len(item), self.out.room)
        if size > 0:
            self.out.write(item[:size])
        return max(0, size)

    async def send_eof(self) -> None:
        """End this direction; the other one stays."""
        await anyio.lowlevel.checkpoint()
        self.half_close()

    async def aclose(self) -> None:
        """Close. What was sent is still delivered; if bytes came that nobody has read, it is a reset."""
        self.close()
        await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close without a checkpoint, as the kernel does for a process that has died."""
        if self._closed:
            return
        self._closed = True
        self._wake()
        if self._broken is None and not self._vanished:
            if self._inbox:
                self._inbox.clear()
                self.out.kill()
                self.send_reset()
            elif not self._shut:
                self.out.finish()
        self._on_close(self)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The addresses of both ends; there is no socket."""
        return {
            SocketAttribute.local_address: lambda: self.local,
            SocketAttribute.remote_address: lambda: self.remote,
        }

    # -- what the network does -----------------------------------------------------------------

    @property
    def unread(self) -> int:
        """Bytes that have arrived and were not taken."""
        return len(self._inbox)

    @property
    def alive(self) -> bool:
        """Whether bytes can still come or go."""
        return not (self._closed or self._vanished or self._broken is not None)

    def half_close(self) -> None:
        """End this direction."""
        if self.alive and not self._shut:
            self._shut = True
            self.out.finish()

    def send_reset(self) -> None:
        """Let the other end find the connection broken, if the way is open."""
        self.incoming.refused_later("reset by the other end")

    def deliver(self, segment: bytes) -> bool:
        """Take what has arrived; False when nobody is here (any more)."""
        if self._vanished or self._broken is not None:
            return False
        if segment == FIN:
            self._eof = True
        elif self._closed:
            return False
        self._inbox += segment
        self._readable.set()
        return True

    def room(self) -> None:
        """Wake a sender: the kernel takes more."""
        self._writable.set()

    def reset(self, reason: str) -> None:
        """Break this end: of the bytes that were not read yet, those behind some random point are lost."""
        if self._broken is not None or self._vanished:
            return
        self._broken = reason
        if self._inbox:
            del self._inbox[self._rng.randint(0, len(self._inbox)) :]
        self.out.kill()
        self._wake()
        if not self._closed:
            self._on_close(self)

    def vanish(self) -> None:
        """The host has lost its power: nothing leaves or arrives any more, and nobody is told."""
        if not self._vanished:
            self._vanished = True
            self.out.kill()
            if not self._closed:
                self._on_close(self)

    def _take(self, max_bytes: int) -> bytes:
        size = min(max_bytes, len(self._inbox))
        if self._rng.random() < 0.1:
            size = self._rng.randint(1, size)
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        self.incoming.pump()
        return data

    def _wake(self) -> None:
        self._readable.set()
        self._writable.set()


def _reset(reason: str) -> OSError:
    return ConnectionResetError(errno.ECONNRESET, reason)
