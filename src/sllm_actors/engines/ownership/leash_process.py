"""The process of a leash as the worker holds it: a child of the worker, or a fork of a fork server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import anyio
from anyio.abc import Process

LEASH = Path(__file__).with_name("leash.py")


class LeashProcess(Protocol):
    """A leash that was started."""

    def kill(self) -> None:
        """Kill the leash, if it still runs."""

    async def wait(self) -> None:
        """Wait until the leash has ended."""

    async def aclose(self) -> None:
        """Close what this process holds of the leash, which has ended or was killed."""


class ForkFailed(Exception):
    """A fork server could not be used: it has gone, is unfit, or does not answer. The text says why."""


class LeashForker(Protocol):
    """A process from which leashes can be forked, instead of starting them as programs."""

    async def fork(self, control: int, status: int, hold: tuple[int, ...]) -> LeashProcess:
        """Have a leash forked. The arguments are those of ``exec_leash``.

        Raises:
            ForkFailed: No leash was forked. One that is forked later all the same ends when it finds its
                pipes closed.
        """


class ExecedLeash:
    """A leash that is a child of the worker."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def kill(self) -> None:
        """See ``LeashProcess``."""
        if self._process.returncode is None:
            self._process.kill()

    async def wait(self) -> None:
        """See ``LeashProcess``."""
        await self._process.wait()

    async def aclose(self) -> None:
        """See ``LeashProcess``."""
        await self._process.aclose()


class ForkedLeash:
    """A leash that is the child of a fork server, held by a pidfd, which can never name another process."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd

    def kill(self) -> None:
        """See ``LeashProcess``."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> None:
        """See ``LeashProcess``."""
        await anyio.wait_readable(self._pidfd)

    async def aclose(self) -> None:
        """See ``LeashProcess``."""
        os.close(self._pidfd)


async def exec_leash(control: int, status: int, hold: tuple[int, ...]) -> ExecedLeash:
    """Start a leash as a program, with an empty environment.

    Args:
        control: The read end of the pipe on which the worker sends to it.
        status: The write end of the pipe on which it answers.
        hold: Descriptors that it keeps open until its engine is gone: the locks of GPUs.

    Raises:
        OSError: The leash cannot be started.
    """
    with anyio.CancelScope(shield=True):  # cancelled in its midst, a start would leave the leash behind
        process = await anyio.open_process(
            [sys.executable, "-I", "-S", str(LEASH), str(control), str(status), *map(str, hold)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            pass_fds=(control, status, *hold),
        )
    return ExecedLeash(process)
