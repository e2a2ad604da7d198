"""Where the time of a start goes, by the lines that the engine logs on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from attrs import frozen

from sllm_actors.engines.machine.log_reader import read_chunk

LOOK = 0.01
"""Seconds between two looks at the log: the resolution of a phase."""

BEFORE = "deciding, placing, launching"
AFTER = "first token"


@frozen
class Seen:
    """A line of a log, and when it was there, in seconds."""

    at: float
    line: str


def phases(
    lines: Iterable[Seen], phase_of: Callable[[str], str], *, began: float, ready: float, ended: float
) -> dict[str, float]:
    """Return the seconds of each phase, in the order of their beginning; pure. Together they are the whole.

    Args:
        lines: What the engine logged between ``began`` and ``ended``.
        phase_of: What a line says that the engine begins now, or "".
        began: When it was deployed.
        ready: When it was found ready: what came then was the first request.
        ended: When its first token came.
    """
    seconds: dict[str, float] = {}
    name, since = BEFORE, began
    for seen in lines:
        phase = phase_of(seen.line).partition(":")[0]
        if phase and phase != name and seen.at <= ready:
            seconds[name] = seconds.get(name, 0.0) + seen.at - since
            name, since = phase, seen.at
    seconds[name] = seconds.get(name, 0.0) + ready - since
    seconds[AFTER] = ended - ready
    return seconds


class LogWatch:
    """Notes when each line comes that is logged under a folder while this context is open.

    A thread looks; it costs about a per cent of one core.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._offsets: dict[Path, int] = {}
        self._rest: dict[Path, str] = {}
        self.lines: list[Seen] = []

    def __enter__(self) -> Self:
        self._read(keep=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(LOOK):
            self._read(keep=True)
        self._read(keep=True)

    def _read(self, *, keep: bool) -> None:
        for log in self._logs.glob("*"):
            while True:
                chunk = read_chunk(log, self._offsets.get(log, 0))
                now = time.monotonic()
                self._offsets[log] = chunk.next_offset
                if not chunk.text:
                    break
                *lines, self._rest[log] = (self._rest.get(log, "") + chunk.text).splitlines(keepends=True)
                if self._rest[log].endswith(("\r", "\n")):
                    lines, self._rest[log] = [*lines, self._rest[log]], ""
                if keep:
                    self.lines += [Seen(now, line.rstrip("\r\n")) for line in lines]
