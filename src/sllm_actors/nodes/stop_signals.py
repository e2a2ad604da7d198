"""The signals that stop a node or a launcher, without those that it was started with ignored.

A shell starts its background jobs with SIGINT ignored, and ``nohup`` starts its program with SIGHUP ignored:
they stay ignored.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
from collections.abc import Callable


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return SIGTERM, and SIGINT unless this process was started with it ignored. See ``stop_on_hang_up``.

    To be called before any handler of these signals is installed.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGINT)


def stop_on_hang_up(stop: Callable[[], None]) -> None:
    """Let the running asyncio loop call ``stop`` at each SIGHUP, until the process has ended.

    A terminal that goes sends SIGHUP twice, from its shell and from the kernel, at any moment. So this
    handler is never taken away again: a loop that removes one of its own restores the default first, by
    which the second SIGHUP would kill a process that is about to end well.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    loop = asyncio.get_running_loop()

    def hung_up(_number: int, _frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop)

    signal.signal(signal.SIGHUP, hung_up)
    # The end of the interpreter restores the default, but not of a signal that is ignored.
    atexit.register(signal.signal, signal.SIGHUP, signal.SIG_IGN)
