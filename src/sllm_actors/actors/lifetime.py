"""The tasks of one system, and the order in which they come and go around the body of its ``async with``.

Two task groups: the outer one belongs to the body's task, the inner one to a task of its own behind a
shield. A body that is cancelled thus leaves the actors running until they have been stopped in good order.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.abc import TaskGroup


class Lifetime:
    """The tasks of one system. Entered and left once, by the task that runs the body.

    Attributes:
        entered: Whether ``enter`` was called.
        tasks: Where the system's tasks run, from the end of ``enter`` to the end of ``leave``.
        body: The scope of the body, to be cancelled when the system cannot go on.
        ended: Set when everything in the system has ended.
    """

    tasks: TaskGroup
    _outer: TaskGroup

    def __init__(self) -> None:
        self.body = anyio.CancelScope()
        self.ended = anyio.Event()
        self.entered = False
        self._serving = anyio.Event()
        self._closing = anyio.Event()

    async def enter(self, *tasks: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start these tasks, which run until ``leave`` cancels them, and begin the body's scope.

        Raises:
            RuntimeError: The system was entered before.
        """
        if self.entered:
            raise RuntimeError("an actor system cannot be entered twice: make a new one")
        self.entered = True
        self._outer = anyio.create_task_group()
        await self._outer.__aenter__()
        self._outer.start_soon(self._serve, tasks)
        # A cancellation that comes now is for the body: only ``leave`` ends what has begun here.
        with anyio.CancelScope(shield=True):
            await self._serving.wait()
        self.body.__enter__()

    async def leave(
        self, exc: BaseException | None, *, stop: Callable[[], None], kill: Callable[[], None], budget: float
    ) -> bool:
        """End the body's scope, call ``stop``, wait for ``ended``, then end the tasks.

        After a cancellation from outside, ``kill`` is called when stopping has taken ``budget`` seconds.

        Returns:
            Whether ``exc``, what the body raised, was the cancellation by its own scope and ends here.
        """
        swallowed = False
        try:
            swallowed = bool(
                self.body.__exit__(type(exc) if exc else None, exc, exc.__traceback__ if exc else None)
            )
        finally:
            cancelled = isinstance(exc, anyio.get_cancelled_exc_class()) and not swallowed
            try:
                with anyio.CancelScope(shield=True):
                    stop()
                    with anyio.move_on_after(budget if cancelled else None):
                        await self.ended.wait()
                    if not self.ended.is_set():
                        kill()
                        await self.ended.wait()
            finally:
                self._closing.set()
                await self._outer.__aexit__(None, None, None)
        return swallowed

    async def _serve(self, tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...]) -> None:
        try:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as self.tasks:
                    for task in tasks:
                        self.tasks.start_soon(task)
                    self._serving.set()
                    await self._closing.wait()
                    self.tasks.cancel_scope.cancel()
        finally:
            self.ended.set()  # also if a task of ours has crashed: there is nobody left to wait for
