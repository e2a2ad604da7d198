"""An actor that keeps the messages that it gets, for a test to look at."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

import anyio

from sllm_actors.actors import Actor, ActorRef, MonitorId, Reply

T = TypeVar("T")


class TestProbe(Actor):
    """Keeps the messages that it gets. Made and started by ``TestSystem.probe``.

    It answers no ask by itself: the test does, with ``reply``.

    Attributes:
        replies: What is to be answered yet, oldest first; a tell has an entry, too, that leads nowhere.
    """

    __test__ = False  # not a test case of pytest

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self._messages: deque[Any] = deque()
        self._arrived = anyio.Event()

    async def receive(self, message: Any) -> None:
        self.replies.append(self.context.reply_later())
        self._messages.append(message)
        self._arrived.set()

    @property
    def ref(self) -> ActorRef:
        """The ref to send messages to."""
        return self.context.ref

    def monitor(self, ref: ActorRef) -> MonitorId:
        """Have ``Down`` sent to this probe when that actor has ended."""
        return self.context.monitor(ref)

    def reply(self, value: Any) -> None:
        """Answer the oldest message that has not been answered.

        Raises:
            IndexError: All are answered.
        """
        self.replies.popleft().send(value)

    async def next(self, *, timeout: float = 60.0) -> Any:
        """Return the next message, waiting for it.

        Raises:
            AssertionError: None came within ``timeout`` seconds of real time.
        """
        with anyio.move_on_after(timeout):
            while not self._messages:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            return self._messages.popleft()
        raise AssertionError(f"no message came within {timeout:g} s")

    async def expect(self, kind: type[T], *, timeout: float = 60.0) -> T:
        """Return the next message, which must be of that class.

        Raises:
            AssertionError: A message of another class came, or none within ``timeout`` seconds.
        """
        message = await self.next(timeout=timeout)
        if not isinstance(message, kind):
            raise AssertionError(f"expected a {kind.__name__}, got {message!r}")  # noqa: TRY004 - a test fails
        return message

    async def expect_nothing(self) -> None:
        """Check that no message has come, or comes before everything is at rest.

        Raises:
            AssertionError: A message has come.
        """
        await anyio.wait_all_tasks_blocked()
        if self._messages:
            raise AssertionError(f"expected nothing, got {self._messages[0]!r}")
