"""The head's present messages and actor: the one module of this benchmark that changes when they do.

Half of it runs in the head's process (``run_head_actor``), half in the fleet's (``Speech`` and what follows).
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from attrs import field, frozen

from sllm_actors.actors import ActorSystem, Catalog, ChildSpec
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import CATALOG as ENGINE_MESSAGES
from sllm_actors.engines.messages import (
    InspectSource,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
)
from sllm_actors.serving.controller import Controller
from sllm_actors.serving.controller_store import ControllerStore
from sllm_actors.serving.decisions.reconcile import Plan, reconcile
from sllm_actors.serving.messages import (
    CATALOG as SERVING_MESSAGES,
)
from sllm_actors.serving.messages import (
    CONTROLLER,
    DeleteDeployment,
    Deploy,
    Describe,
    DesiredReplicas,
    Done,
    Gpu,
    Inventory,
    WorkerReport,
)
from sllm_actors.serving.store.behind import write_behind
from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store
from sllm_actors.transport import Peer

from .worker import SimReplica, SimWorker

MESSAGES = Catalog(ENGINE_MESSAGES, SERVING_MESSAGES)
"""All messages that cross between the head and the fleet."""

HEAD_ACTOR = CONTROLLER
"""The name of the head's actor: who is told of links, reports and requests."""

REPORT, PLACE = "report", "place"
"""The steps that are timed: a report of one replica; and one that gives replicas a place."""

MOVES_FAILED = False
"""Whether the head places a replica that failed for good on another worker."""

BEAT: float | None = None
"""Seconds between two beats of each worker; None where a beat would count as a report of a replica."""

Step = Callable[[str, int], None]
"""Takes what was timed: the kind of step, and nanoseconds."""


# ---- in the head's process


@asynccontextmanager
async def run_head_actor(
    system: ActorSystem, peers: Callable[[], tuple[Peer, ...]], folder: Path, life: int, step: Step
) -> AsyncIterator[None]:
    """Run the head's actor on the store in a folder, telling ``step`` how long its steps take."""
    store = await to_thread.run_sync(partial(Store.open, sqlite_url(folder / "state.db"), beside=folder))
    numbers = itertools.count(1)

    def make() -> Controller:
        return _TimedController(step, ControllerStore(store), peers=peers, epoch=life, table_numbers=numbers)

    try:
        await system.start(ChildSpec(CONTROLLER, make, name=CONTROLLER))
        async with anyio.create_task_group() as beside:
            beside.start_soon(write_behind, store)
            yield
            beside.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(store.close)


class _TimedController(Controller):
    """Times a report from its message to its last consequence, and of placing the pass of ``reconcile``."""

    def __init__(self, step: Step, store: ControllerStore, **options: Any) -> None:
        super().__init__(store, **options)
        self._step = step
        self._placed = False
        module: Any = sys.modules[Controller.__module__]
        module.reconcile = self._reconcile

    def _reconcile(self, *arguments: Any) -> Plan:
        began = time.perf_counter_ns()
        plan = reconcile(*arguments)
        if plan.next_numbers:
            self._placed = True
            self._step(PLACE, time.perf_counter_ns() - began)
        return plan

    async def receive(self, message: Any) -> Any:
        """See ``Controller``."""
        self._placed = False
        began = time.perf_counter_ns()
        answer = await super().receive(message)
        if isinstance(message, WorkerReport) and not self._placed:
            self._step(REPORT, time.perf_counter_ns() - began)
        return answer


# ---- in the fleet's process: what workers say and obey


@frozen
class Heard:
    """What a message means to a worker.

    Attributes:
        start: The orders of replicas that it is to start.
        stop: The replicas that it is to stop.
        reply: The answer, where the message was a question; else None.
        settled: Whether the worker now knows all of its orders.
    """

    start: tuple[tuple[ReplicaKey, ReplicaOrder], ...] = ()
    stop: tuple[ReplicaKey, ...] = ()
    reply: Any = None
    settled: bool = False


@frozen
class Speech:
    """What one worker says to the head, and understands; it lives as long as the worker.

    Attributes:
        inventory: What the worker has.
    """

    inventory: Inventory
    _sequence: Iterable[int] = field(factory=lambda: itertools.count(1))

    def linked(self, worker: SimWorker) -> list[Any]:
        """Return what a worker says when its link to the head has come up."""
        return self.changed(worker, ())

    def changed(self, worker: SimWorker, replicas: Iterable[SimReplica]) -> list[Any]:  # noqa: ARG002
        """Return what a worker says when these replicas have changed, or have ended."""
        reports = tuple(_report(each) for _, each in sorted(worker.replicas.items()))
        return [WorkerReport(worker.node, next(iter(self._sequence)), self.inventory, reports)]

    def beat(self, worker: SimWorker) -> list[Any]:
        """Return what a worker says every ``BEAT`` seconds."""
        return self.changed(worker, ())

    def hear(self, worker: SimWorker, message: Any) -> Heard:
        """Understand what the head says to a worker."""
        match message:
            case DesiredReplicas(orders):
                desired = {order.key: order for order in orders}
                return Heard(
                    start=tuple((key, desired[key]) for key in desired if key not in worker.replicas),
                    stop=tuple(key for key in worker.replicas if key not in desired),
                    settled=True,
                )
            case InspectSource():
                return Heard(reply=SourceInspected())
            case _:
                return Heard()


def _report(replica: SimReplica) -> ReplicaReport:
    ready = replica.state is ReplicaState.READY
    return ReplicaReport(
        replica.key.attempt(replica.attempt),
        replica.state,
        address=f"unix:/run/user/1000/sllm/{replica.attempt:016x}.sock" if ready else "",
        machine="0123456789abcdef0123456789abcdef",
        progress="loading the weights" if replica.state is ReplicaState.STARTING else "",
        reason="the engine ended: exit code 1" if replica.state is ReplicaState.FAILED else "",
        pid=replica.attempt % 4_000_000,
        since=replica.since,
        failures=replica.failures,
        starts=replica.starts,
    )


def speech(number: int, gpus: int) -> Speech:
    """Return what worker ``number`` says: it has so many GPUs."""
    return Speech(
        Inventory(
            name=f"worker-{number}",
            host=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            port=8002,
            gpus=tuple(
                Gpu(f"GPU-{number:08x}-{each}", "H100", 80 * 2**30, 80 * 2**30) for each in range(gpus)
            ),
            cpus=256,
            memory_total=2 * 2**40,
            memory_free=2 * 2**40,
            labels={"zone": f"z{number % 3}"},
        )
    )


# ---- in the fleet's process: what gateways say


def gateway_linked() -> list[Any]:
    """Return what a gateway says when its link to the head has come up."""
    return []


def gateway_hear(message: Any) -> list[Any]:  # noqa: ARG001 - today's tables want no answer
    """Return what a gateway says to a message of the head."""
    return []


def deploy(document: str) -> Any:
    """Return the request to deploy a document."""
    return Deploy(document)


def delete(deployment: str) -> Any:
    """Return the request to delete a deployment."""
    return DeleteDeployment(deployment)


def status() -> Any:
    """Return the request that ``GET /status?limit=100`` makes. Today's head knows no limit."""
    return Describe()


def refusal(answer: Any) -> str:
    """Return why a request was refused, or "" if it was not."""
    return "" if isinstance(answer, Done) else str(answer)
