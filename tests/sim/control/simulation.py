"""One seed, one run: nodes start, people and clients ask, faults come and go, and then everything agrees."""

from __future__ import annotations

import random

import anyio
from tests.sim.ledger import Summary
from tests.sim.simulation import logged

from sllm_actors.testing.sim_run import run_simulation

from .agreed import check_agreed
from .cluster import Cluster
from .environment import KILLED, simulated
from .faults import Faults

ALLOWED = ("reason=killed", "StoreProblem", KILLED)
"""Reasons for which an actor may fail."""


def simulate(seed: int) -> Summary:
    """Run one seed."""
    clusters: list[Cluster] = []

    async def main() -> None:
        clusters.append(cluster := Cluster(seed))
        with logged(cluster.ledger), cluster.promises.watching():
            await play(cluster)

    error = ""
    with simulated(random.Random(f"{seed}/machine")):
        try:
            run_simulation(seed, main)
        except Exception as failure:  # noqa: BLE001 - becomes the run's result
            error = f"the run itself failed: {_flat(failure)}"
    ledger = clusters[0].ledger
    violations = [*ledger.violations, *([error] if error else [])]
    return Summary(seed, ledger.hash, violations, ledger.counts, list(ledger.tail))


async def play(cluster: Cluster) -> None:
    """Be the run."""
    async with anyio.create_task_group() as background:
        background.start_soon(cluster.net.run)
        async with anyio.create_task_group() as processes:
            faults = Faults(cluster, processes)
            for name in cluster.names:
                await faults.start(name)
            seconds = cluster.dice.uniform(15, 45)
            async with anyio.create_task_group() as acting:
                acting.start_soon(cluster.people.live, seconds)
                acting.start_soon(faults.run, seconds)
                acting.start_soon(cluster.clients.live, seconds, processes)
            while faults.open:  # noqa: ASYNC110 - virtual time is free
                await anyio.sleep(0.05)
            cluster.ledger.trace("quiet")
            await check_agreed(cluster)
            check_failures(cluster)
            for node in list(cluster.nodes.values()):
                node.kill()
        background.cancel_scope.cancel()


def check_failures(cluster: Cluster) -> None:
    """P7: no actor fails but by a fault of the run."""
    for line in list(cluster.ledger.tail):
        mistake = "actor.failed" in line and not any(each in line for each in ALLOWED)
        if mistake or "picture.inconsistent" in line:
            cluster.ledger.violated("P7", line)


def _flat(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_flat(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"
