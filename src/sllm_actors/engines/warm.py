"""The fork servers of a worker: which engine is forked from which, and what people are told of them."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import psutil
from attrs import define, evolve, field, frozen

from .fork_client import ForkServer, WarmSpec
from .fork_server import IMPORTS
from .messages import WarmReport, WarmState
from .plan import LaunchPlan

WAIT = 30.0
"""Seconds that an engine waits for a server that is about to be ready: less than a plain start costs."""

WATCHED = 600.0
"""Seconds after the start of an engine in which its late imports are looked at."""


@define
class _Entry:
    spec: WarmSpec
    report: WarmReport
    server: ForkServer | None = None
    settled: anyio.Event = field(factory=anyio.Event)
    watched: dict[Path, float] = field(factory=dict)


class WarmServers:
    """Written by the keepers of fork servers, read by engine lives and by the worker's report."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    async def find(self, plan: LaunchPlan) -> ForkServer | None:
        """Return the server that a plan's engine can be forked from; None if it has to start as a program.

        Waits, within bounds, for one that is importing.
        """
        entry = next((each for each in self._entries.values() if each.spec.fits(plan)), None)
        if entry is None:
            return None
        if entry.report.state is WarmState.STARTING:
            with anyio.move_on_after(WAIT):
                await entry.settled.wait()
        if entry.server is not None:
            entry.watched[plan.paths.tmpdir / IMPORTS] = time.monotonic()
        return entry.server

    def reports(self) -> tuple[WarmReport, ...]:
        """Return what there is to tell, with the memory of each server. Blocks a little."""
        return tuple(
            evolve(entry.report, memory=_memory(entry.server)) for entry in list(self._entries.values())
        )

    def watched(self, spec: WarmSpec) -> list[Path]:
        """Return the files of late imports of the engines that were forked a short time ago."""
        watched = self._entries[spec.backend].watched
        for path, since in list(watched.items()):
            if time.monotonic() - since > WATCHED:
                del watched[path]
        return list(watched)

    def say(self, spec: WarmSpec, state: WarmState, reason: str = "") -> None:
        """Take note of what a server is that does not serve."""
        entry = self._entries.get(spec.backend)
        if entry is None:
            entry = self._entries[spec.backend] = _Entry(spec, WarmReport(spec.backend, state))
        entry.server = None
        entry.report = WarmReport(spec.backend, state, reason=reason)
        if state is WarmState.STARTING:
            entry.settled = anyio.Event()
        else:
            entry.settled.set()

    def serve(self, spec: WarmSpec, server: ForkServer) -> None:
        """Take note of a server that is ready, or has learnt."""
        entry = self._entries[spec.backend]
        entry.server = server
        entry.report = WarmReport(spec.backend, WarmState.READY, modules=server.modules)
        entry.settled.set()


@frozen
class Room:
    """Whether a worker could take one more engine: else nothing is kept warm for it.

    Attributes:
        memory: Bytes of memory that have to be free: less than the smallest engine needs.
    """

    memory: int = 2 * 1024**3

    def has(self, memory_free: int, gpus: int | None, gpus_free: int) -> bool:
        """Decide.

        Args:
            gpus: How many GPUs the worker has; None or 0 where engines run on CPUs.
            gpus_free: How many of them no engine has.
        """
        return memory_free >= self.memory and (not gpus or gpus_free > 0)


def _memory(server: ForkServer | None) -> int:
    if server is None:
        return 0
    try:
        return int(psutil.Process(server.pid).memory_info().rss)
    except psutil.Error:
        return 0
