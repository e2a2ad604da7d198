"""The registry of a worker's fork servers: where an engine life finds one, and what is reported of each."""

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
"""Seconds between two decisions whether to wait on for a fork server that imports."""

WATCHED = 600.0
"""How many seconds after its start an engine's file of late imports is read."""

GIB = 1024**3


@define
class _Import:
    """The import of a server that is not ready yet.

    Attributes:
        began: When it began, on the monotonic clock.
        heard: When the server last reported a further module, on the same clock.
        count: How many modules the server will have, or 0 if unknown.
        seconds: How many seconds the last import took, or 0 if unknown.
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
    """The fork servers of a worker, at most one per backend.

    ``ForkServerKeeper`` writes it; engine lives and the worker's report read it.

    Attributes:
        leashes: The leash server: leashes of engines that are started as programs are forked from it. None
            while there is none.
    """

    def __init__(self) -> None:
        self.leashes: ForkServer | None = None
        self._entries: dict[str, _Entry] = {}

    async def find(
        self, plan: LaunchPlan, *, longest: float = LONGEST, say: Callable[[str], None] | None = None
    ) -> ForkServer | None:
        """Return the fork server for the engine of a plan.

        An engine that none is for has to be started as a program: that is the leash server, or None.

        Waits for a server that still imports, as long as ``is_worth_waiting`` says so. A server that was
        returned is kept running for ``FORK_TIMEOUT`` seconds, even if the worker has no room for a further
        engine.

        Args:
            plan: What the engine would be started with.
            longest: The most seconds to wait.
            say: Called with what the engine waits for, in a few words.
        """
        fitting = (each for each in self._entries.values() if each.spec is not None and each.spec.fits(plan))
        entry = next(fitting, None)
        if entry is None:
            return self.leashes
        if entry.report.state is ForkServerState.STARTING:
            await _wait(entry, longest, say or (lambda _: None))
        if entry.server is not None:
            now = time.monotonic()
            entry.wanted_until = now + FORK_TIMEOUT
            entry.watched[plan.paths.tmpdir / IMPORTS] = now
        return entry.server or self.leashes

    def reports(self) -> tuple[ForkServerReport, ...]:
        """Return a report of each fork server, with the memory that it has now. Reads /proc."""
        return tuple(
            evolve(entry.report, memory=_memory(entry.server)) for entry in list(self._entries.values())
        )

    def is_wanted(self, backend: str) -> bool:
        """Return whether an engine waits for this backend's server, or may be about to be forked from it."""
        return time.monotonic() < self._entries[backend].wanted_until

    def watched(self, backend: str) -> list[Path]:
        """Return the files of late imports of engines that were forked in the last ``WATCHED`` seconds."""
        watched = self._entries[backend].watched
        for path, since in list(watched.items()):
            if time.monotonic() - since > WATCHED:
                del watched[path]
        return list(watched)

    def keep(self, spec: ForkServerSpec) -> None:
        """Add a fork server that is about to start."""
        self.begin(spec.backend)
        self._entries[spec.backend].spec = spec

    def begin(self, backend: str, *, count: int = 0, seconds: float = 0.0) -> None:
        """Record that a server begins to import modules, or is about to.

        Args:
            backend: Its backend.
            count: How many modules it will have, or 0 where that is not known.
            seconds: How many seconds the last import took, or 0 where that is not known.
        """
        self.say(backend, ForkServerState.STARTING)
        self._entries[backend].importing = _Import(count=count, seconds=seconds)

    def imported(self, backend: str, modules: int) -> None:
        """Record how many modules a server has imported so far, while it goes on."""
        entry = self._entries[backend]
        entry.importing.heard = time.monotonic()
        entry.report = evolve(entry.report, modules=modules)

    def say(self, backend: str, state: ForkServerState, reason: str = "") -> None:
        """Record the state of a server that cannot fork now: any but READY, for which there is ``serve``."""
        report = ForkServerReport(backend, state, reason=reason)
        entry = self._entries.setdefault(backend, _Entry(report))
        entry.server = None
        entry.report = report
        if state is not ForkServerState.STARTING:
            entry.settled.set()
        elif entry.settled.is_set():  # those who wait already go on waiting
            entry.settled = anyio.Event()

    def serve(self, backend: str, server: ForkServer) -> None:
        """Record a server that is READY, or has imported further modules since."""
        entry = self._entries[backend]
        entry.server = server
        entry.report = ForkServerReport(backend, ForkServerState.READY, modules=server.modules)
        entry.settled.set()

    def forget(self, backend: str) -> None:
        """Remove a backend's fork server, if there is one."""
        self._entries.pop(backend, None)


@frozen
class MemoryBounds:
    """How much memory has to be free for a fork server: without room for another engine there is none.

    The difference between the two bounds is more than a server takes itself (up to 1.5 GiB): else one would
    be started, ended for the memory that it takes, and started again.

    Attributes:
        begin: Bytes that have to be free to start a server: enough for it and the smallest engine.
        keep: Bytes that have to be free beside a server that runs, or it is ended.
    """

    begin: int = 3 * GIB
    keep: int = GIB

    def has(self, memory_free: int, gpus: int, gpus_free: int, *, running: bool) -> bool:
        """Return whether there is room for a fork server and another engine.

        Args:
            memory_free: Bytes of memory that are free on the machine.
            gpus: How many GPUs the worker has; 0 where engines run on CPUs.
            gpus_free: How many of them no engine has.
            running: Whether the server runs already.
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
