"""What a worker and a leash say to each other, over two pipes: the leash's side.

``CONTROL`` (the leash reads it): the first JSON line is a ``LaunchRequest``; a later ``{"stop": seconds}``
asks to end the engine, with so many seconds between SIGTERM and SIGKILL; ``{"tell": "output"}`` asks to be
told once of output; end of file means that the worker is gone.

``STATUS`` (the leash writes it), JSON lines: ``{"event": "leash", "pid", "began"}`` about the leash itself,
``{"event": "started", "pid", "began"}``, ``{"event": "failed", "error"}``, ``{"event": "output"}`` when that
was asked for and the engine has written since the worker was last told, ``{"event": "exited", "code",
"signal"}`` as soon as the engine itself has ended and its last output is in the log, and ``{"event":
"gone"}`` when no process and no file of it is left.

``leash.py`` loads this file by path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
from typing import TypedDict

READ = 65536  # bytes that are read at once

# Seconds between SIGTERM and SIGKILL when the worker is gone: all has to be over within three.
ORPHANED_BUDGET = 1.0


class LaunchRequest(TypedDict):
    """The first line on ``CONTROL``.

    Attributes:
        argv: The engine's program and arguments.
        env: Its whole environment.
        cwd: Its working directory.
        header: The line that begins this engine life in the log; its last word is the replica's key.
        log: The folder of the log.
        socket: The engine's socket, removed at the end; "" for none.
        tmpdir: Made before the engine starts, and removed at the end.
        files: Contents by name of files that are written into ``tmpdir`` before the engine starts.
        cores: The CPU cores that the engine runs on; empty for all that the leash may use.
        gpu_memory: A program that prints how many MiB of each GPU are in use; empty for no GPU.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    header: str
    log: str
    socket: str
    tmpdir: str
    files: dict[str, str]
    cores: list[int]
    gpu_memory: list[str]


def replica_of(launch: LaunchRequest) -> str:
    """Return the key of the engine's replica: the last word of the request's header."""
    return launch["header"].rpartition(" ")[2]


class WorkerLink:
    """The leash's ends of the two pipes; both are made non-blocking, and are not passed on to the engine.

    Args:
        control: See ``CONTROL`` above.
        status: See ``STATUS`` above.

    Attributes:
        control: The descriptor to wait for; -1 once the worker is known to be gone.
        asks_for_output: Whether the worker waits to be told that the engine has written.
    """

    def __init__(self, control: int, status: int) -> None:
        self.control = control
        self.asks_for_output = False
        self._status = status
        self._heard = b""
        for fd in (control, status):
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)

    def launch_request(self) -> LaunchRequest | None:
        """Wait for the first line; None if the worker is gone before it has said one."""
        poll = select.poll()  # not select(): a worker with many sockets hands out numbers over 1023
        poll.register(self.control, select.POLLIN)
        while b"\n" not in self._heard:
            poll.poll()
            data = os.read(self.control, READ)
            if not data:
                return None
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        launch: LaunchRequest = json.loads(line)
        return launch

    def stop_budget(self) -> float | None:
        """Return the budget of a stop that was asked for, or None. The worker's end asks for one, too.

        It does not wait, and takes in whatever else the worker has said.
        """
        budget: float | None = None
        if self.control >= 0:
            try:
                data = os.read(self.control, READ)
            except BlockingIOError:
                data = None
            if data == b"":
                os.close(self.control)
                self.control = -1
                budget = ORPHANED_BUDGET
            self._heard += data or b""
        while b"\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\n")
            said = json.loads(line)
            if "stop" in said:
                asked = float(said["stop"])
                budget = asked if budget is None else min(budget, asked)
            else:
                self.asks_for_output = True
        return budget

    def say(self, **event: object) -> None:
        """Say an event; nothing if the worker is gone."""
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(self._status, json.dumps(event).encode() + b"\n")
