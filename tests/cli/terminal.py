"""A command at a real terminal, and the person in front of it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time

from tests.children import interrupts


class Terminal:
    """A person at a terminal: types, reads, presses keys."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        with interrupts():
            self.child = subprocess.Popen(
                [sys.executable, "-c", CONTROLLED, *arguments],
                env=environment,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        os.close(slave)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str, seconds: float = 20.0) -> None:
        """Read until ``text`` appears after everything that was waited for before."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                self.shown += os.read(self._master, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def read_all(self) -> str:
        """Return everything that is shown until the child has ended."""
        with contextlib.suppress(OSError):  # which is how a terminal says that nobody writes to it any more
            while data := os.read(self._master, 4096):
                self.shown += data.decode()
        return self.shown

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self._master)


CONTROLLED = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from sllm_actors.cli import main
main()
"""
