"""One socket after its handshake: a task that reads frames and a task that writes them.

Everyone else only enqueues, so that a cancelled caller never tears a frame. The writer takes all that is
queued and sends it in one write. The reader hands frames to a plain function and never awaits an actor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import anyio
import structlog
from anyio.abc import ByteStream

from sllm_actors.actors.wakeup import wakeups

from .errors import RemoteProtocolError
from .frame import Body, Frame, FrameDecoder
from .tcp_stream import Immediate, TcpStream

log = structlog.get_logger("sllm_actors.transport")

FEW = 4
"""A read with more frames than this is a sign of many asks under way: writing together pays then."""

BUNCH = 16
"""Waiting frames that are worth a write of their own."""

READ_SIZE = 256 * 1024
"""Bytes that one read takes at most."""


class Connection:
    """Reads and writes the frames of one lane until either side ends it.

    What is queued here must be bounded by its callers (by windows, by what is unacknowledged).

    Args:
        stream: Owned by the connection from ``run`` on.
        rest: Bytes that came behind the handshake.
        on_frames: Takes the frames that each read completed; may raise ``RemoteProtocolError``.
        supply: Returns further frames to write, behind those of ``send``.
        farewell: Written last when the connection ends because this node stops (``run`` is cancelled).
        farewell_timeout: Seconds that writing it may take.

    Attributes:
        noisy: Set whenever bytes come; whoever watches for silence clears it.
        bytes_in: Bytes received so far.
        bytes_out: Bytes written so far.
    """

    def __init__(
        self,
        stream: ByteStream,
        rest: bytes,
        on_frames: Callable[[list[Frame]], None],
        supply: Callable[[], Sequence[Body]] | None = None,
        *,
        farewell: bytes = b"",
        farewell_timeout: float = 0.5,
    ) -> None:
        self._stream = stream
        self._rest = rest
        self._on_frames = on_frames
        self._supply = supply
        self._farewell = farewell
        self._farewell_timeout = farewell_timeout
        self._writing = False
        self._immediate = stream if supply is not None and isinstance(stream, Immediate) else None
        self._decoder = FrameDecoder()
        self._queue: list[Body] = []
        self._wakeup = wakeups()
        self._wake = self._wakeup()
        self._scope = anyio.CancelScope()
        self._reason: str | None = None
        self._finishing = False
        self._quiet = True
        self._waiting = 0
        self.noisy = True
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def closed(self) -> bool:
        """Whether the connection has ended or is about to."""
        return self._reason is not None

    @property
    def finishing(self) -> bool:
        """Whether ``finish`` was called."""
        return self._finishing

    @property
    def backlog(self) -> int:
        """How many frames of ``send`` wait for the socket."""
        return len(self._queue)

    def send(self, frame: bytes) -> None:
        """Queue a frame; dropped when the connection is closed."""
        if self._reason is None:
            self._queue.append(frame)
            self._wake.set()

    def wake(self) -> None:
        """Have the frames written that ``supply`` returns.

        The first frame after a short read goes out at once, without waking a task: that halves the way of
        a lone ask. Those that follow are left to the writer, which sends them together, or go out in bunches,
        so that the peer can begin with the first while this node still makes the last.
        """
        self._waiting += 1
        if self._immediate is None or self._writing or not (self._quiet or self._waiting >= BUNCH):
            self._wake.set()
        else:
            self._quiet = False
            self._write_now(self._immediate)

    def flush(self) -> bool:
        """Write what waits now, for callers that gather it; tell whether the kernel took it all."""
        if self._reason is None and self._immediate is not None and not self._writing:
            self._write_now(self._immediate)
            return not self._queue
        self._wake.set()
        return False

    def finish(self, timeout: float) -> None:
        """Close after everything queued has been written, or after ``timeout`` seconds."""
        self._finishing = True
        self._scope.deadline = min(self._scope.deadline, anyio.current_time() + timeout)
        self._wake.set()

    def close(self, reason: str) -> None:
        """Close at once; the first reason given is the one that ``run`` returns."""
        if self._reason is None:
            self._reason = reason
            self._scope.cancel()

    async def run(self) -> str:
        """Read and write until the connection ends, close the socket, and return why it ended."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read()
        finally:
            if self._reason is None:
                self._reason = "closed by this node"
                await self._say_farewell()
            await anyio.aclose_forcefully(self._stream)
        return self._reason

    async def _say_farewell(self) -> None:
        # Cancelled in the middle of a write, nobody knows where the peer's next frame would begin.
        if self._farewell and not self._writing:
            with (
                anyio.move_on_after(self._farewell_timeout, shield=True),
                contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError),
            ):
                await self._stream.send(b"".join(self._queue) + self._farewell)

    async def _read(self) -> None:
        try:
            if self._rest:
                self._received(self._rest)
            if isinstance(self._stream, TcpStream):
                await self._stream.pump(self._received, READ_SIZE)
            while True:
                self._received(await self._stream.receive(READ_SIZE))
        except RemoteProtocolError as error:
            self.close(f"it broke the protocol: {error}")
        except anyio.EndOfStream:
            self.close("closed by the peer")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            self.close(_broken(error))
        except Exception as error:  # noqa: BLE001 - whatever a peer found, it costs that connection, not the node
            log.error("transport.frames_failed", error=repr(error)[:500])  # noqa: TRY400 - bounded
            self.close(f"this node failed on what came: {type(error).__name__}")

    def _received(self, data: Body) -> None:
        if self._reason is not None:
            return
        self.noisy = True
        self.bytes_in += len(data)
        frames = self._decoder.receive(data)
        self._quiet = len(frames) <= FEW
        if frames:
            self._on_frames(frames)
        if self._decoder.failure is not None:
            raise self._decoder.failure

    def _write_now(self, stream: Immediate) -> None:
        self._waiting = 0
        batch, self._queue = self._queue, []
        if self._supply is not None:
            batch += self._supply()
        if not batch:
            return
        data = b"".join(batch)
        try:
            written = stream.send_nowait(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            written = 0  # the writer finds out, and says why
        self.bytes_out += written
        if written < len(data):
            self._queue.append(data[written:])
            self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                self._waiting = 0
                batch, self._queue = self._queue, []
                if self._supply is not None:
                    batch += self._supply()
                if batch:
                    data = b"".join(batch)
                    self._writing = True
                    await self._stream.send(data)
                    self._writing = False
                    self.bytes_out += len(data)
                elif self._finishing:
                    self.close("closed by this node")
                    return
                else:
                    self._wake = self._wakeup()
                    await self._wake.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            self.close(_broken(error))


def _broken(error: Exception) -> str:
    cause = error.__cause__
    text = getattr(cause, "strerror", None) or (str(cause) if cause else "")
    return f"the connection broke: {text}" if text else "the connection broke"
