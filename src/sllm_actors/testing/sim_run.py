"""Runs that can be repeated exactly: trio on a clock that jumps, its scheduler seeded, and tasks that can be
frozen as SIGSTOP freezes a process.

Trio reads two private names for this; hypothesis sets the same two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import trio
from trio import _core
from trio.testing import MockClock

T = TypeVar("T")

process: ContextVar[str] = ContextVar("process", default="")
"""Which simulated process a task belongs to: set it in the process's first task, the others inherit it."""


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Let trio decide by this seed which of the tasks that can run runs first, instead of by chance."""
    internals = _core._run  # noqa: SLF001 - there is no public way
    allowed, state = internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r.getstate()  # noqa: SLF001
    internals._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # noqa: SLF001
    internals._r.seed(seed)  # noqa: SLF001
    try:
        yield
    finally:
        internals._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]  # noqa: SLF001
        internals._r.setstate(state)  # noqa: SLF001


def run_simulation(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` on a clock that jumps to whatever comes next, and return what it returns.

    The same seed gives the same run, in any process, as long as ``main`` takes chance from seeded sources,
    time from the event loop, touches no file, socket, thread or signal, and decides nothing by the order of a
    set.
    """
    with deterministic(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


class Freezer(trio.abc.Instrument):
    """Stops the tasks of a process where they are; what wakes them meanwhile is kept for ``thaw``.

    As for a process that is stopped, deadlines that pass meanwhile have passed when it goes on, and the
    simulated kernel goes on acknowledging what arrives.
    """

    def __init__(self) -> None:
        self._frozen: dict[str, list[trio.lowlevel.Task]] = {}

    def freeze(self, name: str) -> None:
        """Let no task of that process run any more; the one that calls must not be one of them."""
        if not self._frozen:
            trio.lowlevel.add_instrument(self)
        self._frozen.setdefault(name, [])

    def thaw(self, name: str) -> None:
        """Let the tasks of that process go on; nothing if it is not frozen."""
        tasks = self._frozen.pop(name, None)
        if tasks is None:
            return
        if not self._frozen:
            trio.lowlevel.remove_instrument(self)
        _runner().runq.extend(tasks)

    def is_frozen(self, name: str) -> bool:
        """Tell whether the process stands still."""
        return name in self._frozen

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Take a frozen process's task out of the queue that it was just put into."""
        waiting = self._frozen.get(task.context.get(process, ""))
        if waiting is not None:
            _runner().runq.pop()
            waiting.append(task)


def _runner() -> _core._run.Runner:
    return _core._run.GLOBAL_RUN_CONTEXT.runner  # noqa: SLF001 - there is no public way
