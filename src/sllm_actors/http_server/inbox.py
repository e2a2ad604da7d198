"""What came for one request and was not read by the application yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

HIGH_WATER = 64 * 2**10
"""Bytes of a body that may wait for the application; with more, a sender that can wait is made to."""

MOST_DROPPED = 32 * 2**20
"""Bytes of a request that are still taken, and dropped, after its answer."""

Message = dict[str, Any]

_LEFT: Message = {"type": "http.disconnect"}


class Inbox:
    """The messages for one call of an ASGI application, in order.

    Args:
        on_read: Called with the number of bytes of the body that the application has just taken.
    """

    def __init__(self, on_read: Callable[[int], None]) -> None:
        self._on_read = on_read
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._left = self._whole = self._deaf = False
        self._dropped = 0
        self._over = asyncio.Event()
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether the request has ended, or its client has left."""
        return self._whole or self._left

    async def put(self, message: Any) -> None:
        """Add a message; nothing follows ``http.disconnect``. Never waits."""
        size = len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            self._left = True
        elif self._deaf:
            self._dropped += size
        else:
            self._messages.append(message)
            self._bytes += size
        self._whole = self._whole or not message.get("more_body", True)
        if self.is_whole or self._dropped > MOST_DROPPED:
            self._over.set()
        self._news.set()

    async def wait_for_the_rest(self) -> None:
        """Wait until the request has ended, its client has left, or too much of it was dropped."""
        await self._over.wait()

    async def wait_for_room(self) -> None:
        """Wait until at most ``HIGH_WATER`` bytes wait, or the application wants no more."""
        while self._bytes > HIGH_WATER:
            self._room.clear()
            await self._room.wait()

    async def receive(self) -> Message:
        """Return the next message, for the application. After ``http.disconnect`` it is always that."""
        while not self._messages:
            if self._left:
                return _LEFT
            self._news.clear()
            await self._news.wait()
        message = self._messages.popleft()
        size = len(message.get("body", b""))
        self._bytes -= size
        self._room.set()
        if size:
            self._on_read(size)
        return message

    def close(self) -> None:
        """The application has answered, or ended: drop what it has not read, and what still comes."""
        self._deaf = True
        self._messages.clear()
        self._bytes = 0
        self._room.set()
