"""The launcher's side of the private socket on which a gateway process answers that it is well."""

from __future__ import annotations

import contextlib
import socket
from typing import Self

import anyio

from .liveness import INTERVAL, Liveness


class HealthSocket:
    """Asks one process, once a second, for a byte that only its running loop sends.

    Used as a context manager. Nothing else on the machine can reach the socket: it is one of a pair, and has
    no name.

    Args:
        patience: See ``Liveness``.
    """

    def __init__(self, patience: float) -> None:
        self._liveness = Liveness(patience)
        self._own, self._theirs = socket.socketpair()
        self._own.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()
        self._theirs.close()

    @property
    def descriptor(self) -> int:
        """What the process inherits; see ``started``."""
        return self._theirs.fileno()

    def started(self) -> None:
        """Close the launcher's copy of the process's end: the process has it now."""
        self._theirs.close()

    async def wait_for_silence(self) -> float:
        """Ask until the process has been silent for too long; return for how many seconds it has been."""
        looked = anyio.current_time()
        while True:
            self._ask()
            await anyio.sleep(INTERVAL)
            if self._has_answered():
                self._liveness.answered()
            before, looked = looked, anyio.current_time()
            if self._liveness.passed(looked - before):
                return self._liveness.silence

    def _ask(self) -> None:
        # A process that reads nothing fills its buffer, one that has ended has no socket: neither answers.
        with contextlib.suppress(OSError):
            self._own.send(b"?")

    def _has_answered(self) -> bool:
        with contextlib.suppress(OSError):
            return self._own.recv(4096) != b""
        return False
