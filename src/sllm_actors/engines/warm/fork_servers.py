"""The fork servers of a worker: which engine is forked from which, and what people are told of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil
from attrs import define, evolve, field, frozen

from sllm_actors.engines.messages import ForkServerReport, ForkServerState
from sllm_actors.engines.plan import LaunchPlan

from .fork_client import FORK_TIMEOUT, ForkServer, ForkServerSpec
from .forked_engine import IMPORTS
from .waiting import LONGEST, Importing, is_worth_waiting

LOOK = 1.0
"""Seconds between two looks at whether it is worth waiting for a server that imports."""

WATCHED = 600.0
"""Seconds after the start of an engine in which its late imports are looked at."""

GIB = 1024**3


@define
class _Import:
    """The import of a server that is not ready yet.

    Attributes:
        began: When, on the monotonic clock.
        heard: When it last told of a further module.
        count: How many modules it will have, or 0.
        seconds: How long the last one took, or 0.
    """

    began: float = field(factory=time.monotonic)
    heard: float = field(factory=time.monotonic)
    count: int = 0
    seconds: float = 0.0


@define
class _Entry:
    report: ForkServerReport
    spec: ForkServerSpec | None = None
    server: ForkServer | None = None
    importing: _Import = field(factory=_Import)
    wanted_until: float = -math.inf
    settled: anyio.Event = field(factory=anyio.Event)
    watched: dict[Path, float] = field(factory=dict)


class ForkServers:
    """Written by the keepers of fork servers, read by engine lives and by the worker's report."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    async def find(
        self, plan: LaunchPlan, *, longest: float = LONGEST, say: Callable[[str], None] | None = None
    ) -> ForkServer | None:
        """Return the server that a plan's engine can be forked from; None if it has to start as a program.

        Waits for one that is importing as long as ``is_worth_waiting``. Whoever got one has
        ``FORK_TIMEOUT`` to use it: so long it is kept although there may be no room for a further engine
        any more.

        Args:
            longest: Seconds that may be waited at most.
            say: Told what is waited for.
        """
        fitting = (each for each in self._entries.values() if each.spec is not None and each.spec.fits(plan))
        entry = next(fitting, None)
        if entry is None:
            return None
        if entry.report.state is ForkServerState.STARTING:
            await _wait(entry, longest, say or (lambda _: None))
        if entry.server is not None:
            now = time.monotonic()
            entry.wanted_until = now + FORK_TIMEOUT
            entry.watched[plan.paths.tmpdir / IMPORTS] = now
        return entry.server

    def reports(self) -> tuple[ForkServerReport, ...]:
        """Return what there is to tell, with the memory of each server. Blocks a little."""
        return tuple(
            evolve(entry.report, memory=_memory(entry.server)) for entry in list(self._entries.values())
        )

    def is_wanted(self, backend: str) -> bool:
        """Return whether an engine waits for a server, or may be about to be forked from it."""
        return time.monotonic() < self._entries[backend].wanted_until

    def watched(self, backend: str) -> list[Path]:
        """Return the files of late imports of the engines that were forked a short time ago."""
        watched = self._entries[backend].watched
        for path, since in list(watched.items()):
            if time.monotonic() - since > WATCHED:
                del watched[path]
        return list(watched)

    def keep(self, spec: ForkServerSpec) -> None:
        """Take note that there is to be a server, which is about to start."""
        self.begin(spec.backend)
        self._entries[spec.backend].spec = spec

    def begin(self, backend: str, *, count: int = 0, seconds: float = 0.0) -> None:
        """Take note that a server begins to import, or is about to.

        Args:
            count: How many modules it will have, or 0 where that is not known.
            seconds: How long the last one took, or 0.
        """
        self.say(backend, ForkServerState.STARTING)
        self._entries[backend].importing = _Import(count=count, seconds=seconds)

    def imported(self, backend: str, modules: int) -> None:
        """Take note of how many modules a server has that goes on importing."""
        entry = self._entries[backend]
        entry.importing.heard = time.monotonic()
        entry.report = evolve(entry.report, modules=modules)

    def say(self, backend: str, state: ForkServerState, reason: str = "") -> None:
        """Take note of what a server is that does not serve."""
        report = ForkServerReport(backend, state, reason=reason)
        entry = self._entries.setdefault(backend, _Entry(report))
        entry.server = None
        entry.report = report
        if state is not ForkServerState.STARTING:
            entry.settled.set()
        elif entry.settled.is_set():  # those who wait already go on waiting
            entry.settled = anyio.Event()

    def serve(self, backend: str, server: ForkServer) -> None:
        """Take note of a server that is ready, or has learnt."""
        entry = self._entries[backend]
        entry.server = server
        entry.report = ForkServerReport(backend, ForkServerState.READY, modules=server.modules)
        entry.settled.set()

    def forget(self, backend: str) -> None:
        """Take note that there is nothing to tell of a backend."""
        self._entries.pop(backend, None)


@frozen
class MemoryBounds:
    """Whether a worker could take one more engine: else nothing is kept warm for it.

    What a server takes itself (up to 1.5 GiB) lies between the two bounds: none is ended for the memory that
    it is about to give back.

    Attributes:
        begin: Bytes of memory that have to be free for a server, and the smallest engine beside it.
        keep: Bytes that have to be free beside a server, or it is ended.
    """

    begin: int = 3 * GIB
    keep: int = GIB

    def has(self, memory_free: int, gpus: int, gpus_free: int, *, running: bool) -> bool:
        """Decide.

        Args:
            gpus: How many GPUs the worker has; 0 where engines run on CPUs.
            gpus_free: How many of them no engine has.
            running: Whether the server is there.
        """
        return memory_free >= (self.keep if running else self.begin) and (not gpus or gpus_free > 0)


async def _wait(entry: _Entry, longest: float, say: Callable[[str], None]) -> None:
    """Wait for a server as long as it imports and is worth waiting for."""
    began = now = time.monotonic()
    importing = _importing(entry, now)
    while is_worth_waiting(importing, now - began, longest):
        entry.wanted_until = now + LOOK + FORK_TIMEOUT
        done = f" ({importing.share:.0%} done)" if importing.share else ""
        say(f"waiting for the fork server, which imports {entry.report.backend}{done}")
        with anyio.move_on_after(LOOK):
            await entry.settled.wait()
        if entry.report.state is not ForkServerState.STARTING:
            break
        now = time.monotonic()
        importing = _importing(entry, now)
    say("starting as a program" if entry.server is None else "being forked")


def _importing(entry: _Entry, now: float) -> Importing:
    its = entry.importing
    return Importing(
        elapsed=now - its.began,
        quiet=now - its.heard,
        modules=entry.report.modules,
        count=its.count,
        seconds=its.seconds,
    )


def _memory(server: ForkServer | None) -> int:
    if server is None:
        return 0
    try:
        return int(psutil.Process(server.pid).memory_info().rss)
    except psutil.Error:
        return 0
