"""Calls that are put off until the running code has returned, so that none is made from within another.

A protocol that writes, say, is never told in the midst of that call that the stream is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import structlog

log = structlog.get_logger("sllm_actors.transport")


class Soon:
    """The calls that wait. On asyncio the event loop makes them; elsewhere a task does.

    Args:
        start: Starts that task.
    """

    def __init__(self, start: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
        self._start = start
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._scheduled = False
        self._schedule: Callable[[], object] | None = None
        self._wake: anyio.Event | None = None

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function soon, in the order of these calls."""
        self._calls.append((function, arguments))
        if not self._scheduled:
            self._scheduled = True
            if self._schedule is None:
                self._schedule = self._scheduler()
            self._schedule()

    def run(self) -> None:
        """Make the calls that wait, and those that they bring about."""
        calls = self._calls
        while calls:
            function, arguments = calls.popleft()
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 - it costs that call alone
                log.error("transport.call_failed", error=repr(error)[:500])  # noqa: TRY400 - bounded
        self._scheduled = False

    def _scheduler(self) -> Callable[[], object]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._wake = anyio.Event()
            self._start(self._run_forever)
            return self._wake_up
        return lambda: loop.call_soon(self.run)

    def _wake_up(self) -> None:
        assert self._wake is not None
        self._wake.set()

    async def _run_forever(self) -> None:
        while True:
            assert self._wake is not None
            await self._wake.wait()
            self._wake = anyio.Event()
            self.run()
