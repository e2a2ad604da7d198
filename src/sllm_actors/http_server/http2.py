"""Hypercorn's HTTP/2, with flow control by stream, broken answers that are told, and a bound on resets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import anyio
import structlog
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, PriorityUpdated, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import H2Error
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import BUFFER_LOW_WATER, H2Protocol, StreamBuffer

from .inbox import MOST_DROPPED
from .tasks import ConnectionTasks

log = structlog.get_logger()

MOST_STREAMS = 100
"""Requests that one connection may have under way."""

MOST_RESETS = 1_000
"""Requests that a client may take back within ``RESETS_WITHIN``; its connection ends with one more."""

MOST_CALLS = 3 * MOST_STREAMS
"""Calls of the application for one connection, those included whose requests were taken back."""

RESETS_WITHIN = 10.0
"""Seconds."""

LAST_BYTES = 1.0
"""Seconds that a client has to take what came before an answer broke off."""


class _Buffer(StreamBuffer):
    """Makes the application wait for a client whose window is closed; hypercorn's own lets it go on."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing will be added."""
        return self._complete

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class MendedH2(H2Protocol):
    """The protocol of one connection.

    - A stream's window opens by what its application has read, the connection's window at once: a request
      whose body nobody reads stalls no other.
    - An answer that the application breaks off ends with RST_STREAM, so that its client does not wait.
    - A client that takes back requests faster than ``MOST_RESETS`` allows is cut off.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tasks = cast("ConnectionTasks", self.task_group)
        self._uploading: set[int] = set()
        self._dropped: dict[int, int] = {}
        self._resets: deque[float] = deque()

    async def goodbye(self) -> None:
        """Tell the client that the connection ends. Streams under way are cut off."""
        try:
            self.connection.close_connection()
            await self._flush()
        except H2Error:
            pass  # it has ended already

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                await self._take(event)
            elif isinstance(event, (StreamReset, RequestReceived)) and self._is_flood(event):
                log.warning("http.flooded", client=self.client)
                self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
            else:
                if isinstance(event, RequestReceived):
                    self._uploading.add(event.stream_id)
                    self._tasks.report_reads(self._opener(event.stream_id))
                elif isinstance(event, (StreamEnded, StreamReset)):
                    self._end_upload(event.stream_id)
                await super()._handle_events([event])
                if isinstance(event, StreamReset):
                    await self._close_buffer(event.stream_id)
        await self._flush()

    def _is_flood(self, event: Event) -> bool:
        if isinstance(event, RequestReceived):
            return self._tasks.running >= MOST_CALLS
        now = time.monotonic()
        self._resets.append(now)
        if len(self._resets) <= MOST_RESETS:
            return False
        return now - self._resets.popleft() < RESETS_WITHIN

    async def _take(self, event: DataReceived) -> None:
        size, stream = event.flow_controlled_length, self.streams.get(event.stream_id)
        if size:
            self.connection.increment_flow_control_window(size)
        if stream is None:
            self._drop(event.stream_id, size)
            return
        self._open_window(event.stream_id, size - len(event.data))  # padding, which no one reads
        await stream.handle(Body(stream_id=event.stream_id, data=event.data))

    def _drop(self, stream_id: int, size: int) -> None:
        """Take what a client still sends after its answer: some read nothing before they have sent all."""
        if stream_id not in self._uploading:
            return
        dropped = self._dropped[stream_id] = self._dropped.get(stream_id, 0) + size
        if dropped <= MOST_DROPPED:
            self._open_window(stream_id, size)
        else:
            self._end_upload(stream_id)
            self.connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _end_upload(self, stream_id: int) -> None:
        self._uploading.discard(stream_id)
        self._dropped.pop(stream_id, None)

    def _opener(self, stream_id: int) -> Callable[[int], None]:
        def opened(size: int) -> None:
            self._open_window(stream_id, size)
            self._tasks.spawn(self._flush)

        return opened

    def _open_window(self, stream_id: int, size: int) -> None:
        if size and stream_id in self._uploading:
            try:
                self.connection.increment_flow_control_window(size, stream_id)
            except H2Error:
                self._end_upload(stream_id)

    async def _priority_updated(self, event: PriorityUpdated) -> None:
        pass  # RFC 9113 took priorities out of HTTP/2: streams take turns

    async def _create_stream(self, request: RequestReceived) -> None:
        # The call of the application begins only when the loop gets to run it: later than this.
        await super()._create_stream(request)
        stream_id = request.stream_id
        if stream_id in self.stream_buffers:
            self.stream_buffers[stream_id] = _Buffer(self.context.event_class)

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers[stream_id]
        try:
            window = self.connection.local_flow_control_window(stream_id)
            data = await buffer.pop(max(0, min(window, self.connection.max_outbound_frame_size)))
            if data:
                self.connection.send_data(stream_id, data)
            else:
                self.priority.block(stream_id)
            if buffer.complete:
                self.connection.end_stream(stream_id)
                self._forget(stream_id)
            await self._flush()
        except (KeyError, H2Error):  # the stream or the connection has ended while its turn came
            await self._close_buffer(stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        """Take what the application answers."""
        broken: _Buffer | None = None
        if isinstance(event, StreamClosed):
            buffer = self.stream_buffers.get(event.stream_id)
            broken = buffer if isinstance(buffer, _Buffer) and not buffer.is_whole else None
        await super().stream_send(event)
        if broken is not None:
            await self._break_off(event.stream_id, broken)

    async def _break_off(self, stream_id: int, buffer: StreamBuffer) -> None:
        if buffer.buffer:
            with anyio.move_on_after(LAST_BYTES):
                await buffer.drain()
        await self._close_buffer(stream_id)
        self._end_upload(stream_id)
        try:
            self.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            await self._flush()
        except H2Error:
            pass  # the client has left it already

    async def _close_buffer(self, stream_id: int) -> None:
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None:
            self._forget(stream_id)
            await buffer.close()

    def _forget(self, stream_id: int) -> None:
        if self.stream_buffers.pop(stream_id, None) is not None:
            self.priority.remove_stream(stream_id)
