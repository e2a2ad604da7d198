"""Processes that tests start: they hear ^C however the tests were started, and none outlives its test."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts(*, ignored: bool = False) -> Iterator[None]:
    """What is started in this block hears SIGINT, or ignores it as a background job of a shell does.

    A child inherits an ignored SIGINT, and the tests themselves may be such a background job.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def child(
    arguments: Sequence[str], *, ignoring: bool = False, **more: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Run a program while the block lasts; then it is killed and reaped, and its pipes are closed.

    Args:
        ignoring: It is started as one that ignores SIGINT.
        more: Arguments of ``Popen``.
    """
    with interrupts(ignored=ignoring):
        process = subprocess.Popen(arguments, **more)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill and reap a process, and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
