"""Keeping an engine on its share of the machine's cores, while other engines come and go."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.to_thread

from sllm_actors.engines.machine.core_binding import bind_family
from sllm_actors.engines.machine.cores import CorePool
from sllm_actors.engines.ownership.engine_process import EngineProcess
from sllm_actors.engines.ownership.procfs import descendants

SPREAD_DELAY = 2.0
"""Seconds after which an engine that is alone runs on all cores again: where models swap, another one comes
before that, and moving hundreds of threads to and fro costs more than the cores are worth."""


async def keep_on_its_share(engine: EngineProcess, pool: CorePool, ready: anyio.Event) -> None:
    """Bind an engine to its cores whenever they change, once it is ready; until then it uses all.

    Returns at once if the engine has cores of its own, or may use all. Otherwise it goes on until cancelled.
    """
    if engine.plan.own_cores or not engine.plan.threads:
        return
    await ready.wait()
    changed, bound = anyio.Event(), pool.cores
    with pool.share(engine.plan.threads, lambda: changed.set()) as cores:
        while True:
            changed = anyio.Event()
            if set(cores()) > set(bound):
                with anyio.move_on_after(SPREAD_DELAY) as alone:
                    await changed.wait()
                if not alone.cancelled_caught:
                    continue
            if cores() != bound:
                bound = cores()
                family = partial(descendants, engine.leash_pid)
                await anyio.to_thread.run_sync(bind_family, family, bound)
            await changed.wait()
