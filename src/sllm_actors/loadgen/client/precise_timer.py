"""A timer of the kernel's: uvloop's own timers round to whole milliseconds, which is too coarse here."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC are the same numbers

_libc = ctypes.CDLL(None, use_errno=True)


class _Interval(ctypes.Structure):
    """``struct itimerspec``: the first two are for repeating."""

    _fields_ = (
        ("every_seconds", ctypes.c_long),
        ("every_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class PreciseTimer:
    """Calls back on the running loop when ``time.monotonic`` has reached a time that is set.

    Args:
        callback: What is called, once for each time that was set and reached.

    Raises:
        OSError: There are no more file descriptors.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._spec = _Interval()
        self._reference = ctypes.byref(self._spec)
        self._descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._loop.add_reader(self._descriptor, self._ring)

    def set(self, at: float | None) -> None:
        """Ring at that time instead of the one set before, at once if it has passed; None: not at all."""
        spec = self._spec
        if at is None:
            spec.seconds = spec.nanoseconds = 0
        else:
            spec.seconds = int(at)
            spec.nanoseconds = max(1, int((at - spec.seconds) * 1e9))
        _libc.timerfd_settime(self._descriptor, _ABSOLUTE, self._reference, None)

    def _ring(self) -> None:
        self.set(None)
        self._callback()

    def close(self) -> None:
        """Give the descriptor back; nothing rings any more."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
