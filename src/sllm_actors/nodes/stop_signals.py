"""The signals that stop a node or a launcher, without those that it was started with ignored."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return SIGTERM, and SIGINT and SIGHUP unless this process was started with them ignored.

    A shell starts its background jobs with SIGINT ignored, and ``nohup`` starts its program with SIGHUP
    ignored: they stay ignored. To be called before any handler of these signals is installed.
    """
    wanted = (signal.SIGINT, signal.SIGHUP)
    return (signal.SIGTERM, *(number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN))
