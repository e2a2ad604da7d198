"""Following the log of an engine that starts, and telling what it is doing, in a few words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from sllm_actors.engines.backends.backend import PhaseOf
from sllm_actors.engines.machine.log_reader import read_chunk

LOOK = 0.25
"""Seconds between two looks at the log."""

LONGEST_LINE = 1000


class StartupPhases:
    """Finds phases in the text of a log, which comes in pieces that may end anywhere; does no I/O.

    Args:
        phase_of: The backend's ``PhaseOf``.
    """

    def __init__(self, phase_of: PhaseOf) -> None:
        self._phase_of = phase_of
        self._rest = ""

    def feed(self, text: str) -> str:
        """Return the last phase that began in this piece, or "". Progress bars end their lines with CR."""
        *lines, rest = re.split(r"[\r\n]", self._rest + text)
        self._rest = rest[:LONGEST_LINE]
        return next((phase for line in reversed(lines) if (phase := self._phase_of(line[:LONGEST_LINE]))), "")


async def follow_phases(log: Path, since: int, phase_of: PhaseOf, say: Callable[[str], None]) -> None:
    """Follow a log and report each new phase, until cancelled.

    Args:
        log: The folder of the log.
        since: The position in the log where this engine life begins.
        phase_of: The backend's ``PhaseOf``.
        say: Called with each phase that differs from the one before; of several that came at once, only with
            the last.
    """
    phases = StartupPhases(phase_of)
    said = ""
    while True:
        try:
            chunk = await anyio.to_thread.run_sync(read_chunk, log, since)
        except OSError:  # a log that cannot be read says nothing; it does not end the engine
            await anyio.sleep(LOOK)
            continue
        since = chunk.next_offset
        phase = phases.feed(chunk.text)
        if phase and phase != said:
            said = phase
            say(phase)
        if not chunk.text:
            await anyio.sleep(LOOK)
