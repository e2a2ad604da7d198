"""What happens to the cluster while its head is measured: it is busy, is wanted, loses links and its head."""

from __future__ import annotations

import gc
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import anyio
from attrs import frozen

from bench.harness.spread import percentile
from sllm_actors.engines.messages import ReplicaState

from . import adapter
from .churn import TICK, Churn
from .fleet import Fleet, HeadFailed, open_fleet
from .size import Size, document
from .timed_head import DEMAND, PLACE, REPORT
from .wishes import Wishes

SMALL = 100
"""Deployments of the cluster that the growth of a step's cost is judged by; half of all, if that is less."""

DEPLOYING = 32
"""Requests to deploy that are under way at a time while the cluster is set up."""

STATUS_EVERY = 0.5
"""Seconds between two questions for the status."""

QUIET = 1.0
"""Seconds in which nothing may change before the cluster counts as settled."""

ASKED_EACH_SECOND = 20
"""How many idle deployments are asked for each second, at most."""

AWAY = 1.0
"""Seconds for which the links of all workers are lost."""

FAILURES = 3
"""How often in a row a replica has failed when its head is to give it another place."""

LOOK = 0.02
"""Seconds between two looks at whether the cluster has settled."""


@frozen
class Load:
    """What is asked of the head.

    Attributes:
        rate: Events per second that are offered: a replica that is restarted, or is ready again.
        seconds: For how long.
        placements: How many replicas are given a place, one after the other.
        patience: The most seconds that the cluster may take to settle.
    """

    rate: float = 2000.0
    seconds: float = 20.0
    placements: int = 300
    patience: float = 120.0


Say = Callable[[str], None]
Figures = dict[str, float]


async def measure(size: Size, load: Load, figures: Figures, say: Say) -> None:
    """Run everything, adding each figure as soon as it is found.

    Raises:
        HeadFailed: The head ended or gave no answer, or the cluster did not settle; the rest is not measured.
    """
    small = size.with_deployments(max(1, min(SMALL, size.deployments // 2)))
    async with _cluster(small, load, say) as (fleet, _):
        small_step = (await _be_busy(fleet, load, say))["step_p50_us"]
    async with _cluster(size, load, say) as (fleet, setup):
        figures["setup_s"] = setup
        figures |= await _be_busy(fleet, load, say)
        figures["growth"] = figures["step_p50_us"] / small_step
        await _settled(fleet, size.replicas, load)
        figures |= await _be_wanted(fleet, load, say)
        await _settled(fleet, size.replicas, load)
        await _place(fleet, load, figures, say)
        await _lose_links(fleet, load, figures, say)
        await _lose_head(fleet, load, figures, say)


@asynccontextmanager
async def _cluster(size: Size, load: Load, say: Say) -> AsyncIterator[tuple[Fleet, float]]:
    """Set a cluster up in a folder of its own; yield it with the seconds until everything ran."""
    say(f"setting up {size.workers} workers and {size.deployments} deployments")
    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder:
        async with open_fleet(size, Path(folder)) as fleet:
            await fleet.start_head()
            fleet.link_gateways()
            for worker in fleet.workers.values():
                fleet.link(worker)
            await _settled(fleet, 0, load)
            began = time.perf_counter()
            await _deploy_all(fleet, load)
            yield fleet, await _settled(fleet, size.replicas, load) - began


async def _deploy_all(fleet: Fleet, load: Load) -> None:
    documents = fleet.size.documents()

    async def deploy_some() -> None:
        for text, _ in documents:
            await _request(fleet, adapter.deploy(text), load)

    async with anyio.create_task_group() as deploying:
        for _ in range(min(DEPLOYING, fleet.size.deployments)):
            deploying.start_soon(deploy_some)


async def _request(fleet: Fleet, message: Any, load: Load) -> float:
    answer, seconds = await fleet.ask(message, timeout=load.patience)
    if why := adapter.refusal(answer):
        raise HeadFailed(f"the head refused a {type(message).__name__}: {why}")
    return seconds


async def _settled(fleet: Fleet, replicas: int, load: Load) -> float:
    """Wait until every worker has its orders and just these replicas run; return since when that is so."""
    deadline = time.perf_counter() + load.patience
    while True:
        if not fleet.has_head:
            raise fleet.head_has_ended()
        changed = fleet.changed_at
        if fleet.unsettled or fleet.running != replicas or time.perf_counter() < changed + QUIET:
            if time.perf_counter() > deadline:
                raise HeadFailed(
                    f"the cluster did not settle within {load.patience:g} s: {len(fleet.unsettled)} workers "
                    f"lack orders or run what is not ready, and {fleet.running} of {replicas} replicas run"
                )
            await anyio.sleep(LOOK)
            continue
        # Answered behind everything that the head still has to do: it may yet order more.
        await _request(fleet, adapter.status(), load)
        if fleet.changed_at == changed:
            return changed


# ---- demand, and events, while somebody looks at the status


async def _be_busy(fleet: Fleet, load: Load, say: Say) -> Figures:
    say(f"offering {load.rate:g} events a second for {load.seconds:g} s")
    churn = Churn(fleet)
    found, waits = await _watched(fleet, load, partial(churn.run, load.rate, load.seconds))
    churn.finish()
    steps = found["steps"].get(REPORT)
    if steps is None or not waits:
        raise HeadFailed(
            f"the head was too busy: within {load.seconds:g} s it gave no answer, or took no report"
        )
    return {
        "step_p99_us": steps["p99_us"],
        "step_p50_us": steps["p50_us"],
        "step_max_us": steps["max_us"],
        "step_cpu_p99_us": steps["cpu_p99_us"],
        "events_s": steps["count"] / found["seconds"],
        "offered_s": churn.sent / load.seconds,
        "cpu_share": found["cpu_share"],
        "loop_hold_max_ms": found["hold_ms"],
        "loop_hold_cpu_ms": found["hold_cpu_ms"],
        "collection_ms": found["collection_ms"],
        "status_ms": percentile(waits, 0.99) * 1e3,
        "rss_mib": found["rss_mib"],
        "dead_letters": found["dead_letters"],
    }


async def _be_wanted(fleet: Fleet, load: Load, say: Say) -> Figures:
    size = fleet.size
    idle = size.idle_ids()[: math.ceil(load.seconds * ASKED_EACH_SECOND)]
    say(
        f"changing demand {load.rate:g} times a second for {load.seconds:g} s; {len(idle)} begin to be wanted"
    )
    wishes = Wishes(fleet, size.serving_ids(), idle)
    found, waits = await _watched(fleet, load, partial(wishes.run, load.rate, load.seconds))
    offered = wishes.sent / load.seconds
    await wishes.finish()
    steps = found["steps"].get(DEMAND)
    if steps is None or not waits or not wishes.waits:
        raise HeadFailed(
            f"the head was too busy: within {load.seconds:g} s it gave no answer, or no order for a request"
        )
    return {
        "scale_p99_ms": percentile(wishes.waits, 0.99) * 1e3,
        "scale_p50_ms": median(wishes.waits) * 1e3,
        "scale_max_ms": max(wishes.waits) * 1e3,
        "scaled": len(wishes.waits),
        "scale_missed": wishes.missed,
        "demand_p99_us": steps["p99_us"],
        "demand_cpu_p99_us": steps["cpu_p99_us"],
        # Where a replica got a place, that is the step which was timed.
        "demand_s": (steps["count"] + len(wishes.waits)) / found["seconds"],
        "demand_offered_s": offered,
        "demand_cpu_share": found["cpu_share"],
        "demand_hold_ms": found["hold_ms"],
        "demand_hold_cpu_ms": found["hold_cpu_ms"],
        "demand_status_ms": percentile(waits, 0.99) * 1e3,
    }


async def _watched(
    fleet: Fleet, load: Load, run: Callable[[], Awaitable[object]]
) -> tuple[dict[str, Any], list[float]]:
    """Run something; return what the head measured meanwhile, and how long questions for the status took."""
    waits: list[float] = []
    gc.collect()
    gc.disable()  # of this process: its pauses are not the head's
    try:
        fleet.begin()
        async with anyio.create_task_group() as looking:
            looking.start_soon(_look_at_status, fleet, load, waits)
            await run()
            found = await fleet.measure()
            looking.cancel_scope.cancel()
    finally:
        gc.enable()
    return found, waits


async def _look_at_status(fleet: Fleet, load: Load, waits: list[float]) -> None:
    while True:
        waits.append(await _request(fleet, adapter.status(), load))
        await anyio.sleep(STATUS_EVERY)


# ---- placing


async def _place(fleet: Fleet, load: Load, figures: Figures, say: Say) -> None:
    say(f"placing {load.placements} replicas")
    spare = int(fleet.size.workers * fleet.size.gpus * 0.1)  # a part of those that no deployment takes
    extra = []
    fleet.begin()
    for number in range(load.placements):
        if number % 2:
            _fail_one(fleet, number)
        else:
            text = document(f"extra-{number:05}", 1, gpus=int(number % 4 == 0 and number // 4 < spare))
            await _request(fleet, adapter.deploy(text), load)
            extra.append(f"extra-{number:05}:llamacpp")
        await anyio.sleep(TICK)
    await _settled(fleet, fleet.size.replicas + len(extra), load)
    found = await fleet.measure()
    steps = found["steps"].get(PLACE)
    if steps is not None:
        figures["place_p99_us"], figures["place_p50_us"] = steps["p99_us"], steps["p50_us"]
        figures["place_cpu_p99_us"] = steps["cpu_p99_us"]
        figures["placements"] = steps["count"]
    figures["place_hold_ms"], figures["place_hold_cpu_ms"] = found["hold_ms"], found["hold_cpu_ms"]
    for name in extra:
        await _request(fleet, adapter.delete(name), load)
    await _settled(fleet, fleet.size.replicas, load)


def _fail_one(fleet: Fleet, number: int) -> None:
    """Let a replica of some worker fail so often that it is to get another place."""
    workers = list(fleet.workers.values())
    for step in range(len(workers)):
        worker = workers[(number * 7 + step) % len(workers)]
        ready = [each for each in worker.replicas.values() if each.state is ReplicaState.READY]
        if ready:
            ready[0].failures = FAILURES
            fleet.become(worker, ready[0], ReplicaState.FAILED)
            return


# ---- losing


async def _lose_links(fleet: Fleet, load: Load, figures: Figures, say: Say) -> None:
    say("losing the links of all workers")
    for worker in fleet.workers.values():
        fleet.lose(worker)
    await anyio.sleep(AWAY)
    started, stopped = fleet.started, fleet.stopped
    fleet.begin()
    began = time.perf_counter()
    for worker in fleet.workers.values():
        fleet.link(worker)
    figures["rejoin_s"] = await _settled(fleet, fleet.size.replicas, load) - began
    figures["rejoin_started"] = fleet.started - started
    figures["rejoin_stopped"] = fleet.stopped - stopped
    found = await fleet.measure()
    figures["rejoin_hold_ms"], figures["rejoin_hold_cpu_ms"] = found["hold_ms"], found["hold_cpu_ms"]
    figures["rss_mib"] = max(figures["rss_mib"], found["rss_mib"])


async def _lose_head(fleet: Fleet, load: Load, figures: Figures, say: Say) -> None:
    say("killing the head")
    began = time.perf_counter()
    await fleet.kill_head()
    started, stopped = fleet.started, fleet.stopped
    await fleet.start_head()
    figures["adopt_process_s"] = time.perf_counter() - began
    fleet.link_gateways()
    for worker in fleet.workers.values():
        fleet.link(worker)
    figures["adopt_s"] = await _settled(fleet, fleet.size.replicas, load) - began
    figures["adopt_started"] = fleet.started - started
    figures["adopt_stopped"] = fleet.stopped - stopped
    found = await fleet.measure()
    figures["adopt_hold_ms"], figures["adopt_hold_cpu_ms"] = found["hold_ms"], found["hold_cpu_ms"]
    figures["rss_mib"] = max(figures["rss_mib"], found["rss_mib"])
