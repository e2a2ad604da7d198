"""Very many requests at the same instant, each on a connection of its own."""

from __future__ import annotations

import asyncio
from time import perf_counter

from bench.harness.spread import percentile

from .connection import Connection
from .phases import Phase
from .target import PATIENCE, Target


async def burst(target: Target, phase: Phase) -> dict[str, float]:
    """Send all requests at once, and return how many were answered."""
    request = target.request(phase)
    taken: list[float] = []

    def answered(connection: Connection) -> None:
        if connection.good:
            taken.append(perf_counter() - connection.began)
        connection.abort()

    async def one() -> None:
        connection = Connection(request, streamed=False, on_answer=answered)
        try:
            async with asyncio.timeout(PATIENCE):
                await target.connect(connection)
                await connection.closed
        except OSError:
            connection.abort()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(phase.connections):
            tasks.create_task(one())
    figures = {"answered": float(len(taken)), "errors": float(phase.connections - len(taken))}
    if taken:
        figures["p99_ms"] = percentile(taken, 0.99) * 1000
    return figures
