"""One seed, one run: nodes start, people live, faults come and are mended, everything settles, nodes stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import structlog
import trio

from sllm_actors.testing.sim_run import run_simulation

from .faults import Faults
from .ledger import Ledger, Summary
from .settled import check_asks, check_bounds, check_conserved, check_settled
from .world import World

SAMPLE = 0.25


def simulate(seed: int) -> Summary:
    """Run one seed."""
    world: list[World] = []

    async def main() -> None:
        world.append(World(seed))
        with logged(world[0].ledger):
            await play(world[0])

    error = ""
    try:
        run_simulation(seed, main)
    except Exception as failure:  # noqa: BLE001 - becomes the run's result
        error = f"the run itself failed: {_flat(failure)}"
    ledger = world[0].ledger
    violations = [*ledger.violations, *([error] if error else [])]
    return Summary(seed, ledger.hash, violations, ledger.counts, list(ledger.tail))


async def play(world: World) -> None:
    """Be the run."""
    before = trio.lowlevel.current_statistics().tasks_living
    async with anyio.create_task_group() as background:
        background.start_soon(world.net.run)
        background.start_soon(_watch, world)
        async with anyio.create_task_group() as processes:
            faults = Faults(world, processes)
            for name in world.names:
                await faults.start(name)
            await faults.run(world.dice.uniform(1.5, 4.0))
            while faults.open:  # noqa: ASYNC110 - virtual time is free
                await anyio.sleep(0.05)
            world.quiet = True
            world.ledger.trace("quiet")
            await check_settled(world)
            await check_asks(world)
            await check_conserved(world)
            for node in world.dice.sample(list(world.nodes.values()), len(world.nodes)):
                node.stop.set()
                await anyio.sleep(world.dice.choice([0.0, 0.1]))
        background.cancel_scope.cancel()
    if world.net.streams:
        world.ledger.violated("I8", f"streams are left: {list(world.net.streams.values())}")
    after = trio.lowlevel.current_statistics().tasks_living
    if after != before:
        world.ledger.violated("I8", f"{after - before} tasks are left")


async def _watch(world: World) -> None:
    while True:
        await anyio.sleep(SAMPLE)
        check_bounds(world)


@contextmanager
def logged(ledger: Ledger) -> Iterator[None]:
    """Make every line of the log a line of the trace."""

    def write(_: object, method: str, event: structlog.typing.EventDict) -> str:
        event.pop("frames", None)
        what = event.pop("event")
        ledger.trace("log", what, *(f"{key}={event[key]}" for key in sorted(event)))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[write], wrapper_class=structlog.BoundLogger)
    try:
        yield
    finally:
        structlog.configure(**before)


def _flat(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_flat(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"
