"""A pool of tasks that lend themselves to actors that have something to do: an idle actor holds none.

A runner takes a ready actor, runs its turn, takes the next. A turn that waits keeps its runner, and another
one goes on: whenever actors are ready, one runner that has not yet picked any is on its way. So turns that
never wait need two tasks, however many actors there are, and turns that wait need one each.

Each runner works inside a cancel scope of its own, which is cancelled only to interrupt the actor it runs;
it then leaves that scope and enters a fresh one. So an interruption costs nothing until it happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from .activity import current
from .wakeup import Wakeup

if TYPE_CHECKING:
    from .actor_cell import ActorCell

TURN = 64
"""Messages that an actor handles before the next ready actor has its turn."""

STRETCH = 256
"""Messages and turns that a runner handles before it lets the event loop do other things."""

PARKED = 64
"""Idle runners that are kept; further ones end."""


class Runner:
    """One task of the pool."""

    __slots__ = ("cell", "scope", "wake")

    def __init__(self, parked: Wakeup) -> None:
        self.cell: ActorCell | None = None
        self.scope = anyio.CancelScope()
        self.wake = parked

    def interrupt(self) -> None:
        """Cancel the turn that it runs."""
        self.scope.cancel()


class Runners:
    """The pool of one system.

    Attributes:
        count: Runners that exist, at work or idle.
    """

    __slots__ = ("_parked", "_ready", "_tasks", "_wakeup", "_woken", "count")

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None
        self._ready: deque[ActorCell] = deque()
        self._parked: list[Runner] = []
        self._woken = False
        self._wakeup: Callable[[], Wakeup] = anyio.Event
        self.count = 0

    def open(self, tasks: TaskGroup, wakeup: Callable[[], Wakeup]) -> None:
        """Let runners run in that task group from now on, until ``close``."""
        self._tasks = tasks
        self._wakeup = wakeup

    def close(self) -> None:
        """Start no more runners."""
        self._tasks = None
        self._ready.clear()

    def ready(self, cell: ActorCell) -> None:
        """Give an actor a turn, after those that are ready already. It must not be in the queue yet."""
        self._ready.append(cell)
        if not self._woken:
            self._wake()

    def _wake(self) -> None:
        if self._parked:
            self._woken = True
            self._parked.pop().wake.set()
        elif self._tasks is not None:
            self._woken = True
            self.count += 1
            self._tasks.start_soon(self._run, name="actor runner")

    async def _run(self) -> None:
        runner = Runner(self._wakeup())
        self._woken = False
        try:
            working = True
            while working:
                with anyio.CancelScope() as runner.scope:
                    working = await self._work(runner)
                cell, runner.cell = runner.cell, None
                if cell is not None:  # its turn was interrupted
                    if cell.settle():
                        self.ready(cell)
                    working = True
        finally:
            self.count -= 1

    async def _work(self, runner: Runner) -> bool:
        """Run turns until one is interrupted (True) or the runner is not needed any more (False)."""
        ready = self._ready
        stretch = 0
        while True:
            while not ready:
                if len(self._parked) >= PARKED or self._tasks is None:
                    return False
                current.set(None)
                runner.wake = self._wakeup()
                self._parked.append(runner)
                await runner.wake.wait()
                self._woken = False
                stretch = 0
            cell = ready.popleft()
            if ready and not self._woken:
                self._wake()
            current.set(cell)
            again = True
            while again:
                runner.cell = cell
                cell.runner = runner
                stretch += 1 + await cell.turn(TURN)
                if runner.scope.cancel_called:
                    return True
                runner.cell = None
                again = cell.settle()
                if again and (ready or stretch >= STRETCH):
                    ready.append(cell)  # no wake-up: this runner takes the first of the queue itself
                    again = False
            if stretch >= STRETCH:
                stretch = 0
                current.set(None)
                await checkpoint()
