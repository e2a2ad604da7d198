"""Lines for the person at the terminal, from processes that must not wait for one.

Whoever reads a node's standard streams may be gone, stuck (a pager), or a full disk. Nothing of that may end
a node or hold its event loop, so each stream has a thread that writes, and a bounded queue before it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import sys
import threading

from .terminal_text import printable

MOST_WAITING = 1000
"""Lines that may wait for a stream; beyond it, new ones are dropped."""

FLUSH_SECONDS = 1.0
"""Seconds that the end of a process waits until the lines of one stream are written."""


class LineWriter:
    """Writes lines to one descriptor, in the order in which they were said.

    Lines that it cannot write (nobody reads, the disk is full) are dropped, and so are those that find
    ``MOST_WAITING`` others before them. The thread begins with the first line.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes] = queue.Queue(MOST_WAITING)
        self._idle = threading.Condition()
        self._unwritten = 0
        self._thread: threading.Thread | None = None

    def say(self, text: str, *, encoding: str = "utf-8") -> None:
        """Queue a line to be written, without its newline. Returns at once, and never raises."""
        line = text.encode(encoding, "backslashreplace") + b"\n"
        with self._idle:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_forever, daemon=True, name="terminal")
                self._thread.start()
            with contextlib.suppress(queue.Full):
                self._lines.put_nowait(line)
                self._unwritten += 1

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait until every line is written or dropped; False if that takes more than ``timeout`` seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._unwritten, timeout)

    def _write_forever(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(self._descriptor, line) :]
            with self._idle:
                self._unwritten -= 1
                self._idle.notify_all()


_output, _error = LineWriter(1), LineWriter(2)


def announce(text: str) -> None:
    """Write a line to standard output, less whatever could steer a terminal. Never waits, never raises."""
    _output.say(printable(text), encoding=_encoding(sys.__stdout__))


def warn(text: str, *, styled: bool = False) -> None:
    """Write a line to standard error. Never waits, never raises.

    Args:
        text: The line, without its newline.
        styled: Whether escape sequences in the text are meant, as colours are; else whatever could steer a
            terminal is left out.
    """
    _error.say(text if styled else printable(text), encoding=_encoding(sys.__stderr__))


def flush() -> None:
    """Wait until all lines are written, at most ``FLUSH_SECONDS`` for each stream."""
    _output.flush()
    _error.flush()


def _encoding(stream: object) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


atexit.register(flush)
