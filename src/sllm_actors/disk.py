"""Calls that look at paths which people name, made so that a disk that does not answer holds up nobody.

A mount whose server is away, or a file whose opening waits for somebody, blocks whoever looks at it, for ever
and deaf to signals. So such looks happen in threads that can be left behind. A thread costs less than a child
process would (starting an engine takes several looks), and what is left behind is bounded; at the end of the
process nobody waits for it.
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
"""Seconds that a look may take."""

MOST_LOOKS: Final = 64
"""Looks that are made, or were left behind and still wait, at the same time; further ones are refused."""

LAST_PATIENCE: Final = 1.0
"""Seconds that ``Disk.finish`` waits."""


class DiskSilent(OSError):
    """A look at a path was given up. ``strerror`` is a whole sentence that names the path."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.ETIMEDOUT, sentence)

    def __str__(self) -> str:
        return str(self.strerror)


class _Look(Generic[T]):
    """One call in a thread, whose result is either taken or undone, whenever it comes."""

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
        """Be the thread's work."""
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
        """Let nobody have the result any more."""
        with self._lock:
            self._left = True
            self.ended |= not self._begun  # then it never does
            lost, self._result = self._result, []
        for result in lost:
            if self._undo is not None:
                self._undo(result)


class Disk:
    """Looks at paths, in threads. To be used by one event loop."""

    def __init__(self) -> None:
        self._looks: set[_Look[Any]] = set()
        self._silent: dict[str, _Look[Any]] = {}

    async def run(
        self,
        path: str | Path,
        call: Callable[[], T],
        *,
        patience: float | None = PATIENCE,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Return what a blocking call returns, or raise what it raises.

        When it is cancelled, or its time is over, the thread is left behind. While one that was left for its
        silence still waits, the next look at that path is refused at once.

        Args:
            path: What the call looks at, for a person.
            call: Blocks; must not need the event loop.
            patience: Seconds that it may take; None for as many as the caller has.
            undo: Gives back the result of a call that was left behind (closes what it has opened).

        Raises:
            DiskSilent: It took too long, or too many looks are being made.
        """
        self._forget_ended()
        where = str(path)
        if where in self._silent:
            raise DiskSilent(f"{where} still does not answer: is its disk or server away?")
        if len(self._looks) >= MOST_LOOKS:
            raise DiskSilent(f"{where} was not looked at: {MOST_LOOKS} other looks at disks have not ended")
        look = _Look(call, undo)
        self._looks.add(look)
        try:
            with anyio.move_on_after(patience):
                await to_thread.run_sync(look.run, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
                return look.take()
            self._silent[where] = look
            raise DiskSilent(f"{where} has not answered for {patience:g} s: is its disk or server away?")
        finally:
            look.leave()

    async def check(self, path: str | Path, *, patience: float = PATIENCE) -> None:
        """Return when a path answers, whatever the answer is.

        Raises:
            DiskSilent: It does not.
        """
        await self.run(path, lambda: _exists(path), patience=patience)

    async def finish(self, call: Callable[[], object]) -> None:
        """Do the last thing that is to be done with a path: wait a moment for it, and no longer.

        The call is made whether this is cancelled or not, and whether the path is silent or not. An
        ``OSError`` that it raises is logged.
        """
        thread = threading.Thread(target=_finish, args=(call,), daemon=True, name="disk")
        thread.start()
        with anyio.move_on_after(LAST_PATIENCE, shield=True):
            await to_thread.run_sync(
                thread.join, 2 * LAST_PATIENCE, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )

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
