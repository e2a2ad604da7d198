"""A one-shot event: one task waits, another wakes it, as cheaply as the event loop can.

An ask needs two of these. On asyncio an ``anyio.Event`` spends most of its time on finding out which event
loop runs, which a bare future is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import anyio


class Wakeup(Protocol):
    """Lets one task wait for another, once. Made by the function that ``wakeups`` returns."""

    def set(self) -> None:
        """Let the waiting task go on, now or as soon as it waits. A second call does nothing."""

    async def wait(self) -> None:
        """Wait for ``set``. To be called once, by one task."""


class FutureWakeup:
    """A ``Wakeup`` that is a bare future of asyncio."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def set(self) -> None:
        if not self._future.done():  # else it was set, or the wait was cancelled
            self._future.set_result(None)

    async def wait(self) -> None:
        await self._future


def wakeups() -> Callable[[], Wakeup]:
    """Return the function that makes wake-ups for the running event loop."""
    try:
        create_future = asyncio.get_running_loop().create_future
    except RuntimeError:
        return anyio.Event
    return lambda: FutureWakeup(create_future())
