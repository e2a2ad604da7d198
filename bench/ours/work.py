"""Rates and latencies of any ref, local or remote."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import anyio

from bench.peers.protocol import BULK, BURST, UNDER_WAY, Scale, async_rate
from sllm_actors.actors import ActorRef

DEADLINE = 60.0
"""Seconds that any ask of the benchmark may take: it has failed long before."""


async def measured(scale: Scale, work: Callable[[], Any]) -> float:
    """Return the rate of ``work`` after its warm-up."""
    if scale.warm_up:
        await async_rate(work, scale.warm_up)
    return await async_rate(work, scale.seconds)


async def tell_rate(ref: ActorRef, message: Any, scale: Scale, *, burst: int = BURST) -> float:
    """Return the tells delivered in a second: bursts, each followed by an ask that must come back."""

    async def once() -> int:
        for _ in range(burst):
            ref.tell(message)
        await ref.ask(message, timeout=DEADLINE)
        return burst

    return await measured(scale, once)


async def ask_rate(ref: ActorRef, message: Any, scale: Scale) -> float:
    """Return the asks, one at a time, that are answered in a second."""

    async def once() -> int:
        for _ in range(16):
            await ref.ask(message, timeout=DEADLINE)
        return 16

    return await measured(scale, once)


async def concurrent_ask_rate(
    ref: ActorRef, message: Any, scale: Scale, *, under_way: int = UNDER_WAY
) -> float:
    """Return the asks that are answered in a second while so many of them wait at any time."""

    async def phase(seconds: float) -> float:
        done = 0
        began = time.perf_counter()
        until = began + seconds

        async def caller() -> None:
            nonlocal done
            while True:
                await ref.ask(message, timeout=DEADLINE)
                done += 1
                if time.perf_counter() >= until:
                    return

        async with anyio.create_task_group() as tasks:
            for _ in range(under_way):
                tasks.start_soon(caller)
        return done / (time.perf_counter() - began)

    if scale.warm_up:
        await phase(scale.warm_up)
    return await phase(scale.seconds)


async def fan_out_rate(refs: Sequence[ActorRef], message: Any, scale: Scale) -> float:
    """Return how often in a second all of them can be asked at once, until the last has answered."""

    async def ask(ref: ActorRef) -> None:
        await ref.ask(message, timeout=DEADLINE)

    async def once() -> int:
        async with anyio.create_task_group() as tasks:
            for ref in refs:
                tasks.start_soon(ask, ref)
        return 1

    return await measured(scale, once)


async def latencies(ref: ActorRef, message: Any, scale: Scale) -> list[float]:
    """Return how many seconds each of so many asks took, one at a time."""
    took = []
    for _ in range(scale.samples):
        began = time.perf_counter()
        await ref.ask(message, timeout=DEADLINE)
        took.append(time.perf_counter() - began)
    return took


class BulkFlow:
    """``BULK`` large messages flow to an actor, over and over; ``done`` counts those that were answered."""

    def __init__(self, ref: ActorRef, message: Any) -> None:
        self._ref = ref
        self._message = message
        self.done = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        for _ in repeat(None):
            async with anyio.create_task_group() as tasks:
                for _ in range(BULK):
                    tasks.start_soon(self._one)

    async def _one(self) -> None:
        await self._ref.ask(self._message, timeout=DEADLINE)
        self.done += 1


@contextmanager
def timed() -> Iterator[list[float]]:
    """Put the seconds that the body takes into the list that is given to it."""
    took: list[float] = []
    began = time.perf_counter()
    yield took
    took.append(time.perf_counter() - began)
