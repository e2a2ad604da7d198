"""What actors cost that do nothing."""

from __future__ import annotations

import gc

from bench.peers.protocol import Scale, emit, resident_bytes
from sllm_actors.actors import ActorSystem, ChildSpec

from .messages import Idle
from .work import timed


async def run(scale: Scale) -> None:
    """Start many actors one after the other, each as soon as the one before it is up, and stop them."""
    system = ActorSystem()
    async with system:
        await system.start(ChildSpec("first", Idle))
        gc.collect()
        before = resident_bytes()
        with timed() as took:
            for each in range(scale.population):
                await system.start(ChildSpec(f"idle-{each}", Idle))
        gc.collect()
        emit("actor_bytes", (resident_bytes() - before) / scale.population)
        emit("spawn_100k_s", took[0] * 100_000 / scale.population)
        emit("started_s", scale.population / took[0])
        with timed() as took:
            await system.stop()
        emit("stop_100k_s", took[0] * 100_000 / scale.population)
