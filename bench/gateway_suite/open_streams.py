"""Streams that are open at the same time: what a chunk costs, and what an open stream takes."""

from __future__ import annotations

import asyncio

from .closed_loop import ClosedLoop
from .connection import Connection
from .phases import MANY_MS, STEADY_MS, Phase
from .target import Target
from .usage import resident_bytes
from .window import LOAD, Window

SETTLE = 0.5
"""Seconds that all streams have been open before a window begins."""

RAMP = 2500
"""Streams that are opened in a second, of many."""

WARM = Phase("streamed", 32, 0.5)
"""Comes before memory is looked at, so that what a gateway needs once is there."""

LATEST = 10.0
"""Seconds that the last stream may take to begin, and to end, over what the engine takes."""


class OpenStreams:
    """Holds streams open.

    Args:
        target: Whom to ask.
        phase: What for.
        pace: Seconds between the beginnings of two streams.
    """

    def __init__(self, target: Target, phase: Phase, pace: float) -> None:
        self._target = target
        self._request = target.request(phase)
        self._pace = pace
        self._tasks: list[asyncio.Task[None]] = []
        self.streams: list[Connection] = []
        self.finished = 0

    async def open(self, count: int) -> None:
        """Begin streams, evenly apart, and wait until each has got something or has failed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(count):
            pause = began + number * self._pace - loop.time()
            if pause > 0.002:
                await asyncio.sleep(pause)
            stream = Connection(self._request, streamed=True, on_answer=self._ended)
            self.streams.append(stream)
            self._tasks.append(loop.create_task(self._keep(stream)))
        await asyncio.wait([stream.begun for stream in self.streams], timeout=LATEST)

    async def close(self) -> None:
        """Hang up, and end everything that was begun."""
        for stream in self.streams:
            stream.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def events(self) -> int:
        """How many events all streams together have got."""
        return sum(each.total_events for each in self.streams)

    @property
    def open_now(self) -> int:
        """How many streams have begun and are not at an end."""
        return sum(bool(each.first) and each.under_way and not each.closed.done() for each in self.streams)

    async def wait(self, within: float) -> None:
        """Wait until no stream is open."""
        await asyncio.wait(self._tasks, timeout=within)

    async def _keep(self, stream: Connection) -> None:
        try:
            await self._target.connect(stream)
        except OSError:
            stream.connection_lost(None)
            return
        await stream.closed

    def _ended(self, stream: Connection) -> None:
        self.finished += stream.good
        stream.abort()


async def steady(target: Target, phase: Phase) -> dict[str, float]:
    """Hold streams open with a chunk each 20 ms, and return what one chunk costs."""
    streams = OpenStreams(target, phase, STEADY_MS / 1000 / phase.connections)
    try:
        await streams.open(phase.connections)
        await asyncio.sleep(SETTLE)
        before, window = streams.events, Window(target.groups)
        await asyncio.sleep(phase.seconds)
        window.close()
        chunks, left = streams.events - before, streams.open_now
    finally:
        await streams.close()
    figures = {
        "chunks_s": chunks / window.seconds,
        "load_share": window.processor[LOAD] / window.seconds,
        "errors": float(phase.connections - left),
    }
    return figures | {f"{group}_us": used for group, used in window.per(chunks).items()}


async def many(target: Target, phase: Phase) -> dict[str, float]:
    """Hold very many slow streams open, let all of them finish, and return what an open one takes."""
    await ClosedLoop(target, WARM).run()
    before = _resident(target)
    streams = OpenStreams(target, phase, 1 / RAMP)
    try:
        await streams.open(phase.connections)
        window, sofar = Window(target.groups), streams.events
        open_now = streams.open_now
        taken = {group: after - before[group] for group, after in _resident(target).items()}
        await asyncio.sleep(2 * MANY_MS / 1000)
        window.close()
        chunks = streams.events - sofar
        await streams.wait(phase.seconds + LATEST)
    finally:
        await streams.close()
    figures = {
        "open": float(open_now),
        "missing": float(phase.connections - open_now),
        "finished": float(streams.finished),
        "errors": float(phase.connections - streams.finished),
    }
    for group, size in taken.items() if open_now else ():
        figures["kib_per_stream" if group == "gateway" else f"{group}_kib"] = size / 1024 / open_now
    return figures | {f"{group}_us": used for group, used in window.per(chunks).items()}


def _resident(target: Target) -> dict[str, int]:
    return {group: resident_bytes(pids) for group, pids in target.groups.items()}
