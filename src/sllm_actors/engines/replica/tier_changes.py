"""Putting one engine to sleep and waking it, and what it gives back of its GPUs' memory meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

from sllm_actors.engines.backends.sleep import SleepProblem, SleepTiers
from sllm_actors.engines.machine.gpus import GpuAllocation, GpuPool
from sllm_actors.engines.machine.memory_gauge import Gauge

from .events import NoRoom, PutToSleep, Slept, WakeUp, Woken
from .readiness import HealthProbe

ROOM_PATIENCE = 5.0
"""Seconds that an engine which is to wake waits for the memory of its GPUs."""


class TierChanges:
    """The changes that are asked for of one engine: they are made one after the other.

    One is made only while no other engine on its GPUs starts, stops, sleeps or wakes. An engine that is to
    wake first takes the memory again that it gave back; if others have it, it is not woken, and that is said.

    Args:
        attempt: The engine's, for the events.
        say: Called with what has become of each change.
    """

    def __init__(self, attempt: int, say: Callable[[Slept | Woken | NoRoom], None]) -> None:
        self._attempt = attempt
        self._say = say
        self._wanted: deque[PutToSleep | WakeUp] = deque()
        self._asked = anyio.Event()

    def ask(self, wanted: PutToSleep | WakeUp) -> None:
        """Have a change made."""
        self._wanted.append(wanted)
        self._asked.set()

    async def make(
        self, tiers: SleepTiers, probe: HealthProbe, pool: GpuPool, gpus: GpuAllocation, gauge: Gauge
    ) -> str:
        """Make the changes that are asked for, until one fails; return why, as a sentence.

        Args:
            tiers: How the engine is told.
            probe: Its connection.
            pool: The machine's GPUs.
            gpus: Those of the engine.
            gauge: Measures what it keeps as it sleeps.
        """
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            while self._wanted:
                wanted = self._wanted.popleft()
                try:
                    async with pool.turn(gpus.gpus):
                        await self._change(tiers, probe, gpus, gauge, wanted)
                except SleepProblem as problem:
                    doing = "fall asleep" if isinstance(wanted, PutToSleep) else "wake up"
                    return f"it did not {doing}: {problem}"

    async def _change(
        self,
        tiers: SleepTiers,
        probe: HealthProbe,
        gpus: GpuAllocation,
        gauge: Gauge,
        wanted: PutToSleep | WakeUp,
    ) -> None:
        if isinstance(wanted, PutToSleep):
            await tiers.sleep(probe.engine, wanted.level)
            kept = await gauge.kept_asleep() if wanted.level else None
            if kept is not None:
                gpus.keep_only(kept, gauge.needed_awake)
            self._say(Slept(self._attempt, gpus.memory))
        elif await gpus.take_again_within(ROOM_PATIENCE):
            await tiers.wake(probe.engine, wanted.level)
            self._say(Woken(self._attempt, gpus.memory))
        else:
            reason = "it was not woken: others have the memory of its GPUs (no_room)"
            self._say(NoRoom(self._attempt, wanted.level, reason))
