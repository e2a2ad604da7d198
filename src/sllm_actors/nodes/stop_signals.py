"""The signals that stop a node or a launcher, without those that it was started to ignore."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return SIGTERM, and SIGINT and SIGHUP unless this process was started with them ignored.

    A shell starts its background jobs with SIGINT ignored, and ``nohup`` what it runs with SIGHUP ignored:
    what is ignored then stays so. To be called before any handler is installed.
    """
    wanted = (signal.SIGINT, signal.SIGHUP)
    return (signal.SIGTERM, *(number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN))
