"""What workers, gateways and people say to the head, and understand of it: in the fleet's process."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from attrs import define, field, frozen

from sllm_actors.actors import Catalog
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import CATALOG as ENGINE_MESSAGES
from sllm_actors.engines.messages import (
    InspectSource,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
)
from sllm_actors.serving.differences.feed import BEAT_INTERVAL
from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.publisher import Publisher
from sllm_actors.serving.messages import (
    DeleteDeployment,
    Demand,
    Deploy,
    Done,
    Gpu,
    Inventory,
    Order,
    ReadDocument,
    ReplicaDocument,
    ServedModel,
    WorkerAddress,
    WorkerInventory,
)
from sllm_actors.serving.streams import (
    ADDRESSES,
    DEMAND,
    ORDERS,
    REPLICAS,
    ROUTES,
    AskDemand,
    AskReplicas,
)
from sllm_actors.serving.streams import CATALOG as SERVING_MESSAGES
from sllm_actors.serving.views.messages import CATALOG as QUESTIONS
from sllm_actors.serving.views.messages import DescribeCluster

from .worker import SimReplica, SimWorker

MESSAGES = Catalog(ENGINE_MESSAGES, SERVING_MESSAGES, QUESTIONS)
"""All messages that cross between the head and the fleet."""

BEAT = BEAT_INTERVAL
"""Seconds between two beats of each worker."""


@frozen
class Heard:
    """What a message means to a worker.

    Attributes:
        start: The orders of replicas that it is to start.
        stop: The replicas that it is to stop.
        reply: The answer, where the message was a question; else None.
        say: What it says to the head.
        settled: Whether the worker now knows all of its orders, and the head all of its replicas.
    """

    start: tuple[tuple[ReplicaKey, ReplicaOrder], ...] = ()
    stop: tuple[ReplicaKey, ...] = ()
    reply: Any = None
    say: tuple[Any, ...] = ()
    settled: bool = False


@define(eq=False)
class Speech:
    """What one worker says to the head, and understands; it lives as long as the worker.

    Attributes:
        inventory: What the worker has.
    """

    inventory: Inventory
    _orders: Follower[ReplicaKey, Order]
    _replicas: Publisher[ReplicaKey, ReplicaReport]
    _told: bool = False  # all replicas, over the present link
    _sequence: Iterable[int] = field(factory=lambda: itertools.count(1))

    def linked(self, worker: SimWorker) -> list[Any]:
        """Return what a worker says when its link to the head has come up."""
        self._told = False
        has = WorkerInventory(worker.node, next(iter(self._sequence)), self.inventory)
        return [has, self._orders.begin().ask]

    def changed(self, replicas: Iterable[SimReplica]) -> list[Any]:
        """Return what a worker says when these replicas have changed, or have ended."""
        for each in replicas:
            if each.state is ReplicaState.STOPPED:
                self._replicas.remove(each.key)
            else:
                self._replicas.put(_report(each))
        return list(self._replicas.flush())

    def beat(self) -> Any:
        """Return what a worker says every ``BEAT`` seconds."""
        return self._replicas.beat()

    def hear(self, worker: SimWorker, message: Any) -> Heard:
        """Understand what the head says to a worker."""
        match message:
            case InspectSource():
                return Heard(reply=SourceInspected())
            case ReadDocument(key):
                return Heard(reply=ReplicaDocument(worker.replicas[key].order.document))
            case AskReplicas(_, after):
                page = self._replicas.page(after)
                self._told |= not page.more
                return Heard(say=(page,), settled=self._settled)
            case _:
                return self._obey(worker, self._orders.take(message))

    def _obey(self, worker: SimWorker, changes: Changes[ReplicaKey, Order]) -> Heard:
        start, stop, say = [], [], [] if changes.ask is None else [changes.ask]
        for order in changes.put:
            known = order.key in worker.replicas
            if order.run is not None and not known:
                start.append((order.key, order.run))
            elif order.run is None and known:
                stop.append(order.key)
            elif order.run is None:
                say += self._never_had(order.key)
        return Heard(tuple(start), tuple(stop), say=tuple(say), settled=self._settled)

    def _never_had(self, key: ReplicaKey) -> list[Any]:
        """Return what a worker says of a replica that is to stop before it was to run."""
        self._replicas.put(ReplicaReport(key.attempt(0), ReplicaState.STOPPED))
        said = list(self._replicas.flush())
        self._replicas.remove(key)
        return [*said, *self._replicas.flush()]

    @property
    def _settled(self) -> bool:
        return self._told and self._orders.complete


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
        gpus=replica.order.num_gpus,
        fingerprint=replica.order.fingerprint,
    )


def speech(node: str, number: int, gpus: int) -> Speech:
    """Return what worker ``number`` says: it has so many GPUs."""
    inventory = Inventory(
        name=f"worker-{number}",
        host=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        port=8002,
        gpus=tuple(Gpu(f"GPU-{number:08x}-{each}", "H100", 80 * 2**30, 80 * 2**30) for each in range(gpus)),
        cpus=256,
        memory_total=2 * 2**40,
        memory_free=2 * 2**40,
        labels={"zone": f"z{number % 3}"},
    )
    return Speech(inventory, Follower(ORDERS, node), Publisher(REPLICAS, node, life=1))


class GatewaySpeech:
    """What one gateway says to the head, and understands; it lives as long as the gateway."""

    def __init__(self, node: str) -> None:
        self._routes: Follower[str, ServedModel] = Follower(ROUTES, node)
        self._addresses: Follower[str, WorkerAddress] = Follower(ADDRESSES, node)
        self._demand: Publisher[str, Demand] = Publisher(DEMAND, node, life=1)

    def want(self, deployment: str, held: int, in_flight: int, uses: int) -> None:
        """Let its clients want this of a deployment; ``report`` says it."""
        if held or in_flight:
            self._demand.put(Demand(deployment, held, in_flight, uses=uses))
        elif not self._demand.remove(deployment):  # used since the last report, and at rest again
            self._demand.put(Demand(deployment, uses=uses))

    def want_nothing(self) -> None:
        """Let its clients want nothing; ``report`` says it."""
        for deployment in self._demand.entries():
            self._demand.remove(deployment)

    def report(self) -> list[Any]:
        """Return what it says when demand has changed."""
        return list(self._demand.flush())

    def beat(self) -> Any:
        """Return what it says every ``BEAT`` seconds."""
        return self._demand.beat()

    def linked(self) -> list[Any]:
        """Return what a gateway says when its link to the head has come up."""
        return [self._routes.begin().ask, self._addresses.begin().ask]

    def hear(self, message: Any) -> list[Any]:
        """Return what a gateway says to a message of the head."""
        if isinstance(message, AskDemand):
            return [*self._demand.flush(), self._demand.page(message.after)]
        asks = [self._routes.take(message).ask, self._addresses.take(message).ask]
        return [ask for ask in asks if ask is not None]


# ---- what people ask


def deploy(document: str) -> Any:
    """Return the request to deploy a document."""
    return Deploy(document)


def delete(deployment: str) -> Any:
    """Return the request to delete a deployment."""
    return DeleteDeployment(deployment)


def status() -> Any:
    """Return the request that ``GET /status?limit=100`` makes."""
    return DescribeCluster(limit=100)


def refusal(answer: Any) -> str:
    """Return why a request was refused, or "" if it was not."""
    return "" if isinstance(answer, Done) else str(answer)
