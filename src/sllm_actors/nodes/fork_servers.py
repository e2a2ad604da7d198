"""Starts the fork servers of a worker: the leash server, and one for each backend that has them installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from sllm_actors.actors import ActorSystem, ChildSpec
from sllm_actors.cluster.inventory import inspect_machine
from sllm_actors.engines.backends.inspection import LONGEST
from sllm_actors.engines.backends.registry import FORK_SERVERS
from sllm_actors.engines.errors import LaunchProblem
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import ForkServerState
from sllm_actors.engines.warm.fork_servers import MemoryBounds
from sllm_actors.engines.warm.keeper import ForkServerKeeper, KeeperOptions
from sllm_actors.engines.warm.leash_server import LeashServerKeeper

log = structlog.get_logger("sllm_actors.engines")

LOOK_AGAIN = 30.0
"""Seconds between two looks for an engine that is not installed yet, or whose Python cannot be asked."""


@asynccontextmanager
async def keep_fork_servers(
    choice: str, folder: Path, host: EngineHost, look_again: float = LOOK_AGAIN
) -> AsyncIterator[ActorSystem]:
    """Keep the leash server and the chosen fork servers while the body runs.

    Each of the chosen ones begins when its engine is installed. An engine whose Python does not work is
    reported as failed and looked for again, so that the worker can serve other engines. The actors that keep
    the servers live in an actor system of their own, which is the value of the context: they start before the
    worker knows its cluster.

    Args:
        choice: "auto" for all backends that have a fork server, "none", or one backend's name.
        folder: Where they keep what they have learned; made when it is needed.
        host: The worker's machine and engines.
        look_again: Seconds between two looks for an engine.
    """
    async with ActorSystem() as system, anyio.create_task_group() as group:
        group.start_soon(_start_keepers, choice, folder, host, system, look_again)
        yield system
        group.cancel_scope.cancel()


async def _start_keepers(
    choice: str, folder: Path, host: EngineHost, system: ActorSystem, look_again: float
) -> None:
    await _start_leash_server(folder, host, system)
    wanted = {"auto": set(FORK_SERVERS), "none": set[str]()}.get(choice, {choice})
    problems: dict[str, str] = {}
    while wanted:
        for backend in sorted(wanted):
            try:
                spec = await host.disk.run(
                    f"the Python for {backend}", partial(FORK_SERVERS[backend], host), patience=LONGEST
                )
                await to_thread.run_sync(partial(folder.mkdir, mode=0o700, exist_ok=True))
            except (LaunchProblem, OSError) as problem:
                if problems.get(backend) != str(problem):
                    log.warning("fork_server.not_started", backend=backend, reason=str(problem))
                problems[backend] = str(problem)
                host.fork_servers.say(backend, ForkServerState.FAILED, str(problem))
                continue
            if spec is None:
                host.fork_servers.forget(backend)
                continue
            keeper = partial(
                ForkServerKeeper, spec, host.fork_servers, KeeperOptions(folder, partial(_has_room, host))
            )
            await system.start(ChildSpec(id=f"fork server of {backend}", factory=keeper))
            wanted = wanted - {backend}
        await anyio.sleep(look_again)


async def _start_leash_server(folder: Path, host: EngineHost, system: ActorSystem) -> None:
    try:
        await to_thread.run_sync(partial(folder.mkdir, mode=0o700, exist_ok=True))
    except OSError as problem:
        log.warning("leash_server.not_started", reason=str(problem))
        return
    keeper = partial(LeashServerKeeper, host.fork_servers, folder / "leashes.log")
    await system.start(ChildSpec(id="leash server", factory=keeper))


def _has_room(host: EngineHost, running: bool) -> bool:
    gpus = len(host.hardware.gpus.gpus or ())
    return MemoryBounds().has(
        inspect_machine(None).memory_free, gpus, host.hardware.gpus.free, running=running
    )
