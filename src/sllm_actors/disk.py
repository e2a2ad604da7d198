"""Blocking calls on paths that people name, made so that a disk that does not answer holds up nobody.

A mount whose server is away, or a FIFO without a writer, blocks whoever looks at it for ever, and no signal
ends that. So each such call, a *look*, is made in a thread that can be left behind. A thread costs less than
a child process would (starting an engine takes several looks). The number of threads that are left behind is
bounded, and the end of the process does not wait for them.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import anyio
import structlog
from anyio import to_thread

log = structlog.get_logger("sllm_actors.disk")

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds that a look may take, unless its caller says otherwise."""

MOST_LOOKS: Final = 64
"""Looks at the same time, those included that were left behind and are still blocked; more wait."""

AGAIN: Final = 0.5
"""Seconds after which a look that waits sees whether one that was left behind has ended."""

LAST_PATIENCE: Final = 1.0
"""Seconds that ``Disk.finish`` waits for its call."""


class DiskSilent(OSError):
    """A look at a path was given up or refused. ``strerror`` is a whole sentence that names the path."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.ETIMEDOUT, sentence)

    def __str__(self) -> str:
        return str(self.strerror)


class _Look(Generic[T]):
    """One call in a thread. Its result is either taken or passed to ``undo``, however late it comes."""

    def __init__(self, call: Callable[[], T], undo: Callable[[T], object] | None) -> None:
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._result: list[T] = []
        self._left = False
        self._begun = False
        self.ended = False

    def _begin(self) -> bool:
        with self._lock:
            self._begun = not self._left
            return self._begun

    def run(self) -> None:
        """Make the call; to be run by the thread."""
        if not self._begin():
            return
        try:
            result = self._call()
            with self._lock:
                if not self._left:
                    self._result.append(result)
                    return
            if self._undo is not None:
                self._undo(result)
        finally:
            self.ended = True

    def take(self) -> T:
        """Return the result of a call that has ended."""
        with self._lock:
            return self._result.pop()

    def leave(self) -> None:
        """Give the call up: from now on its result is undone, also one that was there and not taken."""
        with self._lock:
            self._left = True
            self.ended |= not self._begun  # the thread will not make the call any more
            lost, self._result = self._result, []
        for result in lost:
            if self._undo is not None:
                self._undo(result)


class Disk:
    """Makes blocking calls on paths, in threads. To be used by one event loop."""

    def __init__(self) -> None:
        self._looks: set[_Look[Any]] = set()
        self._silent: dict[str, _Look[Any]] = {}
        self._waiting: set[anyio.Event] = set()

    async def run(
        self,
        path: str | Path,
        call: Callable[[], T],
        *,
        patience: float | None = PATIENCE,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Make a blocking call in a thread; return what it returns, or raise what it raises.

        When the caller is cancelled, or ``patience`` is over, the thread is left behind. As long as a thread
        that used up its patience is still blocked, further calls on the same path are refused at once. While
        ``MOST_LOOKS`` have not ended, a call waits, within its patience.

        Args:
            path: The path that the call looks at; error messages name it.
            call: The blocking call. It must not need the event loop.
            patience: Seconds that the call may take; None for no limit.
            undo: Takes the result of a call that was left behind, to release it (close what it has opened).

        Raises:
            DiskSilent: The call took too long, or was refused: an earlier one on this path is still blocked,
                or other looks did not end in time.
        """
        where = str(path)
        look = _Look(call, undo)
        begun = False
        try:
            with anyio.move_on_after(patience):
                await self._wait_for_room(where)
                self._looks.add(look)
                begun = True
                await to_thread.run_sync(look.run, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
                return look.take()
            if not begun:
                raise DiskSilent(
                    f"{where} was not looked at: {MOST_LOOKS} other looks at disks have not ended"
                )
            self._silent[where] = look
            raise DiskSilent(f"{where} has not answered for {patience:g} s: is its disk or server away?")
        finally:
            look.leave()
            if self._waiting:
                self._waiting.pop().set()

    async def check(self, path: str | Path, *, patience: float = PATIENCE) -> None:
        """Return as soon as the file system says whether a path exists, either way.

        Raises:
            DiskSilent: It does not say so within ``patience`` seconds. See ``run``.
        """
        await self.run(path, lambda: _exists(path), patience=patience)

    async def finish(self, call: Callable[[], object]) -> None:
        """Make a call that releases something (a lock, a file), and wait ``LAST_PATIENCE`` seconds for it.

        The call is made even if the caller is cancelled and if the path is silent; one that takes longer goes
        on in its thread. An ``OSError`` that it raises is logged.
        """
        thread = threading.Thread(target=_finish, args=(call,), daemon=True, name="disk")
        thread.start()
        with anyio.move_on_after(LAST_PATIENCE, shield=True):
            await to_thread.run_sync(
                thread.join, 2 * LAST_PATIENCE, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )

    async def _wait_for_room(self, where: str) -> None:
        self._forget_ended()
        while len(self._looks) >= MOST_LOOKS:
            turn = anyio.Event()
            self._waiting.add(turn)
            try:
                with anyio.move_on_after(AGAIN):  # one that was left behind ends without a word
                    await turn.wait()
            finally:
                self._waiting.discard(turn)
            self._forget_ended()
        if where in self._silent:
            raise DiskSilent(f"{where} still does not answer: is its disk or server away?")

    def _forget_ended(self) -> None:
        self._looks = {look for look in self._looks if not look.ended}
        self._silent = {path: look for path, look in self._silent.items() if not look.ended}


def _finish(call: Callable[[], object]) -> None:
    try:
        call()
    except OSError as error:
        log.warning("disk.not_finished", error=str(error))


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
