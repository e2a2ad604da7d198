"""Each connection sends its next request when it has the answer to the last."""

from __future__ import annotations

import asyncio
from time import perf_counter

from bench.harness.spread import percentile

from .connection import Connection
from .phases import Phase
from .target import Target
from .window import LOAD, Window

WARM_UP = 0.3
"""Seconds of load before the measuring begins."""

DRAIN = 1.0
"""Seconds for the last answers to come, so that no hang-up of this phase is work in the next one."""

PAUSE = 0.01
"""Seconds before a connection is made anew that was refused or lost."""


class ClosedLoop:
    """One phase of kind ``plain`` or ``streamed``."""

    def __init__(self, target: Target, phase: Phase) -> None:
        self._target = target
        self._streamed = phase.kind == "streamed"
        self._request = target.request(phase)
        self._phase = phase
        self._totals: list[float] = []
        self._firsts: list[float] = []
        self._errors = 0
        self._stop = asyncio.Event()
        self._connections: dict[int, Connection] = {}

    async def run(self) -> dict[str, float]:
        """Return the figures. Answers that are complete within the time are counted, and no others."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._phase.connections):
                tasks.create_task(self._keep(number))
            await asyncio.sleep(WARM_UP)
            self._totals, self._firsts = [], []
            window = Window(self._target.groups)
            await asyncio.sleep(self._phase.seconds)
            window.close()
            totals, firsts = self._totals, self._firsts
            self._stop.set()
            open_now = list(self._connections.values())
            await asyncio.wait([connection.closed for connection in open_now], timeout=DRAIN)
            for connection in open_now:
                connection.abort()
        return self._figures(window, totals, firsts)

    async def _keep(self, number: int) -> None:
        """Keep one connection: when it is lost, another takes its place."""
        while not self._stop.is_set():
            connection = Connection(self._request, streamed=self._streamed, on_answer=self._answered)
            self._connections[number] = connection
            try:
                await self._target.connect(connection)
            except OSError:
                self._errors += 1
            else:
                if self._stop.is_set():
                    connection.abort()
                await connection.closed
                self._errors += connection.under_way and not self._stop.is_set()
            if not self._stop.is_set():
                await asyncio.sleep(PAUSE)

    def _answered(self, connection: Connection) -> None:
        now = perf_counter()
        if connection.good:
            self._totals.append(now - connection.began)
            if self._streamed:
                self._firsts.append(connection.first - connection.began)
        else:
            self._errors += 1
        if self._stop.is_set():
            connection.abort()
        else:
            connection.send()

    def _figures(self, window: Window, totals: list[float], firsts: list[float]) -> dict[str, float]:
        figures: dict[str, float] = {"errors": self._errors, "rps": len(totals) / window.seconds}
        for group, used in window.per(len(totals)).items():
            figures[f"{group}_us"] = used
        figures["load_share"] = window.processor[LOAD] / window.seconds
        for name, values in (("total", totals), ("ttft", firsts)):
            if values:
                figures[f"{name}_p50_ms"] = percentile(values, 0.5) * 1000
                figures[f"{name}_p99_ms"] = percentile(values, 0.99) * 1000
        return figures
