"""The program that asks: ``python -m bench.gateway_suite.load``, with its orders in the environment.

It prints a line of JSON for each figure, under names that begin with the phase: ``plain_32_rps``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from bench.harness.child import Child, Run, run

from .burst import burst
from .closed_loop import ClosedLoop
from .open_streams import many, steady
from .phases import Kind, Phase
from .target import Target

ROOT = Path(__file__).resolve().parents[2]

ORDERS = "BENCH_ORDERS"
"""The variable that holds the orders: there is a key in them, which no command line may show."""

GRACE = 120.0
"""Seconds that a run may take beside what it measures."""

PER_PHASE = 3.0


async def closed_loop(target: Target, phase: Phase) -> dict[str, float]:
    """Run one closed loop."""
    return await ClosedLoop(target, phase).run()


KINDS: dict[Kind, Callable[[Target, Phase], Awaitable[dict[str, float]]]] = {
    "plain": closed_loop,
    "streamed": closed_loop,
    "steady": steady,
    "many": many,
    "burst": burst,
}


def put_under_load(name: str, target: Target, phases: Sequence[Phase]) -> Run:
    """Run the load program in a process of its own, and return what it found.

    Raises:
        ChildFailed: It found nothing; the system's processes may be gone.
    """
    orders = {"target": target.to_json(), "phases": [phase.to_json() for phase in phases]}
    return run(
        Child(
            name=f"the load on {name}",
            command=[sys.executable, "-m", "bench.gateway_suite.load"],
            folder=ROOT,
            environment={"PYTHONPATH": str(ROOT), ORDERS: json.dumps(orders)},
            timeout=GRACE + sum(phase.seconds + PER_PHASE for phase in phases),
        )
    )


async def ask(target: Target, phases: Sequence[Phase]) -> None:
    """Run all phases, one after the other, and print their figures."""
    for phase in phases:
        figures = await KINDS[phase.kind](target, phase)
        for name, value in figures.items():
            print(json.dumps({"measure": f"{phase.name}_{name}", "value": value}), flush=True)


def main() -> None:
    """Do as the orders say."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    orders = json.loads(os.environ[ORDERS])
    phases = [Phase(**each) for each in orders["phases"]]
    uvloop.run(ask(Target(**orders["target"]), phases))


if __name__ == "__main__":
    main()
