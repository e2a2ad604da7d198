"""Processes that tests start: they hear ^C however the tests were started, and none outlives its test."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any


@contextmanager
def interrupts(*, ignored: bool = False) -> Iterator[None]:
    """What is started in this block hears SIGINT, or ignores it as a background job of a shell does.

    A child inherits an ignored SIGINT, and the tests themselves may be such a background job; or run under
    ``nohup``, so it hears SIGHUP as well.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGHUP, hang_up)


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


_kept: set[int] = set()


def keep(process: subprocess.Popen[Any]) -> None:
    """Let a process that a test starts outlive it: a fixture of more tests ends the process."""
    _kept.add(process.pid)


def running() -> dict[int, str]:
    """Return the children of this process, by process id, with their command lines.

    Those of ``multiprocessing`` are left out: they belong to a pool, which ends them. So are those that a
    test gave to ``keep``.
    """
    pooled = {process.pid for process in multiprocessing.active_children()}
    pooled.add(getattr(resource_tracker._resource_tracker, "_pid", None))
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has ended meanwhile
            for pid in (task / "children").read_text().split():
                found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return {pid: command for pid, command in found.items() if pid not in pooled | _kept}


def left_since(before: Collection[int], *, patience: float = 2.0) -> dict[int, str]:
    """Return the children that are there and were not before, once those that are just ending have gone."""
    deadline = time.monotonic() + patience
    while True:
        left = {pid: command for pid, command in running().items() if pid not in before}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def kill_all(children: Iterable[int]) -> None:
    """Kill and reap children, whoever has started them."""
    for pid in children:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill and reap a process, and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
