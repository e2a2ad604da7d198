"""Putting one engine to sleep and waking it, and what it gives back of its GPUs' memory meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from sllm_actors.engines.backends.sleep import SleepProblem, SleepTiers
from sllm_actors.engines.machine.gpus import GpuAllocation, GpuPool
from sllm_actors.engines.machine.memory_gauge import Gauge
from sllm_actors.models.byte_size import shown_bytes
from sllm_actors.models.prefetch import weight_files

from .events import NoMemory, NoRoom, PutToSleep, Slept, WakeUp, Woken
from .readiness import HealthProbe

KEEPS_WEIGHTS = 1
"""The level at which the weights of an engine that sleeps are in the machine's memory."""

ROOM_PATIENCE = 5.0
"""Seconds that an engine which is to wake waits for the memory of its GPUs."""


class TierChanges:
    """The changes that are asked for of one engine: they are made one after the other.

    One is made only while no other engine on its GPUs starts, stops, sleeps or wakes. An engine that is to
    wake first takes the memory again that it gave back; if others have it, it is not woken, and that is said.
    Nor is one put to sleep at level 1 whose weights find no place in the machine's memory: the kernel would
    end some process for it.

    Args:
        attempt: The engine's, for the events.
        say: Called with what has become of each change.
    """

    def __init__(self, attempt: int, say: Callable[[Slept | Woken | NoRoom | NoMemory], None]) -> None:
        self._attempt = attempt
        self._say = say
        self._wanted: deque[PutToSleep | WakeUp] = deque()
        self._asked = anyio.Event()

    def ask(self, wanted: PutToSleep | WakeUp) -> None:
        """Have a change made."""
        self._wanted.append(wanted)
        self._asked.set()

    async def make(
        self,
        tiers: SleepTiers,
        probe: HealthProbe,
        pool: GpuPool,
        gpus: GpuAllocation,
        gauge: Gauge,
        weights: Path | None,
    ) -> str:
        """Make the changes that are asked for, until one fails; return why, as a sentence.

        Args:
            tiers: How the engine is told.
            probe: Its connection.
            pool: The machine's GPUs.
            gpus: Those of the engine.
            gauge: Measures what it keeps as it sleeps.
            weights: The file or folder of its weights; None where that is not known.
        """
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            while self._wanted:
                wanted = self._wanted.popleft()
                try:
                    async with pool.turn(gpus.gpus):
                        if not await self._refuses(wanted, weights):
                            await self._change(tiers, probe, gpus, gauge, wanted)
                except SleepProblem as problem:
                    doing = "fall asleep" if isinstance(wanted, PutToSleep) else "wake up"
                    return f"it did not {doing}: {problem}"

    async def _refuses(self, wanted: PutToSleep | WakeUp, weights: Path | None) -> bool:
        """Return whether an engine is not put to sleep, since its weights find no memory; then say so."""
        if weights is None or not isinstance(wanted, PutToSleep) or wanted.level != KEEPS_WEIGHTS:
            return False
        size = await anyio.to_thread.run_sync(size_of, weights, abandon_on_cancel=True)
        if size <= (free := memory_free()):
            return False
        reason = (
            "it was not put to sleep: at level 1 its weights take"
            f" {shown_bytes(size)} of the machine's memory, and {shown_bytes(free)} are free"
        )
        self._say(NoMemory(self._attempt, reason))
        return True

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


def size_of(weights: Path) -> int:
    """Return the bytes of a model's weights; 0 where they cannot be read. Blocks on the disk."""
    try:
        return sum(file.stat().st_size for file in weight_files(weights))
    except OSError:
        return 0


def memory_free() -> int:
    """Return the bytes of the machine's memory that programs can still get."""
    return int(psutil.virtual_memory().available)
