"""The machine of a worker: its GPUs, and what is played on it in place of engines."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, frozen

from sllm_actors.actors import Actor, ActorRef
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import (
    IDLE_PATIENCE,
    Drained,
    InspectSource,
    OrderChanged,
    ReplicaChanged,
    ReplicaOrder,
    ReplicaReport,
    ReplicaState,
    SourceInspected,
    StopReplica,
    WakeReplica,
)
from sllm_actors.engines.replica.actor import REPEAT
from sllm_actors.serving.messages import Gpu, Inventory

if TYPE_CHECKING:
    from sllm_actors.transport import Peer

    from .cluster import Cluster

BROKEN = "broken"
"""The ``VERSION`` of a deployment whose engine never becomes ready."""


@frozen
class _Next:
    """Time for a replica to go on."""


@frozen
class _Repeat:
    """Time for a replica to report once more."""


@define(eq=False)
class Life:
    """What became of one replica on one machine: from the start of its actor to its end.

    Attributes:
        ready_since: Since when it serves, or None.
        told_to_stop: Whether a head has ordered that it stops.
        ended: When its actor had ended, or None.
    """

    node: str
    key: ReplicaKey
    gpus: int
    began: float
    ready_since: float | None = None
    told_to_stop: bool = False
    ended: float | None = None


class Machine:
    """A machine of a worker; it outlives the worker's processes.

    Attributes:
        refused: By ``VERSION``, what this machine cannot run, and why.
        dies: How probable it is that an engine fails as it starts.
        lives: The replicas that run here now.
        obeyed: The highest epoch of which orders were obeyed here.
        obeys: The head of which orders were obeyed last, by its link.
        epoch: What the worker's disk has of that.
    """

    def __init__(self, cluster: Cluster, name: str, gpus: int) -> None:
        self.cluster = cluster
        self.name = name
        self.gpus = gpus
        self.slots = gpus + 1
        self.dice = random.Random(f"{cluster.seed}/{name}/machine")
        self.refused: dict[str, str] = {}
        self.dies = 0.0
        self.pace = 1.0
        self.lives: dict[PlayedReplica, Life] = {}
        self.obeyed = 0
        self.obeys: Peer | None = None
        self.epoch = [0]
        self._attempts = 0

    def inventory(self) -> Inventory:
        """Return what this machine has."""
        gpus = tuple(Gpu(f"{self.name}-{number}") for number in range(self.gpus))
        return Inventory(name=self.name, host=self.name, port=8001, gpus=gpus, cpus=8, slots=self.slots)

    async def inspect(self, question: InspectSource) -> SourceInspected:
        """Say whether an engine could run here."""
        await trio.sleep(self.dice.expovariate(1 / 0.05))
        problem = self.refused.get(question.env.get("VERSION", ""), "")
        if question.num_gpus > self.gpus:
            problem = f"{self.name} has {self.gpus} GPUs, not {question.num_gpus}"
        return SourceInspected(problem)

    def next_attempt(self) -> int:
        self._attempts += 1
        return self._attempts

    def running(self) -> dict[PlayedReplica, Life]:
        """Return the replicas that run here; one whose actor was killed is gone."""
        for replica in list(self.lives):
            if replica.is_dead:
                self.moves_out(replica)
        return self.lives

    def free(self) -> int:
        """Return how many GPUs no engine has."""
        return self.gpus - sum(life.gpus for each, life in self.running().items() if each.has_gpus)

    def moves_in(self, replica: PlayedReplica) -> Life:
        """Begin the life of a replica."""
        key, gpus = replica.order.key, replica.order.num_gpus
        life = self.lives[replica] = Life(self.name, key, gpus, trio.current_time())
        self.cluster.promises.moved_in(self, life)
        return life

    def moves_out(self, replica: PlayedReplica) -> None:
        """End the life of a replica."""
        life = self.lives.pop(replica, None)
        if life is not None:
            life.ended = trio.current_time()
            life.ready_since = None

    def process_died(self) -> None:
        """Let everything end that the worker's process had started."""
        for replica in list(self.lives):
            self.moves_out(replica)


class PlayedReplica(Actor):
    """Does what a replica does, as fast and as well as the seed wants."""

    def __init__(self, machine: Machine, order: ReplicaOrder, owner: ActorRef) -> None:
        self.machine = machine
        self.order = order
        self.has_gpus = False
        self._owner = owner
        self._state = ReplicaState.PENDING
        self._attempt = machine.next_attempt()
        self._withdrawal = 0
        self._if_idle = False
        self._declined = 0
        self._failures = 0
        self._starts = 0

    @property
    def is_dead(self) -> bool:
        """Whether its actor has ended, in whatever way."""
        return self.context._cell.dead

    async def started(self) -> None:
        self._life = self.machine.moves_in(self)
        self._say(ReplicaState.PENDING)
        self._soon(0.05)
        self.context.after(REPEAT, _Repeat())

    async def stopped(self, reason: object) -> None:
        self.machine.moves_out(self)

    async def receive(self, message: Any) -> None:
        match message:
            case _Next():
                self._go_on()
            case _Repeat():
                self._owner.tell(ReplicaChanged(self._said))
                self.context.after(REPEAT, _Repeat())
            case OrderChanged(order):
                self.order = order
            case StopReplica(reason, if_idle=if_idle):
                self.machine.cluster.promises.stops(self.machine, self._life, reason)
                if self._state is ReplicaState.READY or (self._if_idle and not if_idle):
                    self._withdraw(if_idle=if_idle)
                elif self._state is not ReplicaState.DRAINING:
                    self._end()
            case WakeReplica():
                if self._if_idle:
                    self._stay()
            case Drained(me, withdrawal):
                if self._state is ReplicaState.DRAINING and (me, withdrawal) == (self._id, self._withdrawal):
                    self.machine.cluster.promises.given_back(self.machine, self._id)
                    self._end()
            case _:
                await super().receive(message)

    @property
    def _id(self) -> Any:
        return self.order.key.attempt(self._attempt)

    def _go_on(self) -> None:
        dice = self.machine.dice
        match self._state:
            case ReplicaState.PENDING | ReplicaState.FAILED:
                if self.machine.free() < self.order.num_gpus and not self.has_gpus:
                    self._soon(0.2)
                    return
                self.has_gpus = True
                self._starts += 1
                self._attempt = self.machine.next_attempt()
                self._say(ReplicaState.STARTING)
                self._soon(self.machine.pace)
            case ReplicaState.STARTING if self._breaks() or dice.random() < self.machine.dies:
                self._fail("its engine ended as it started")
            case ReplicaState.STARTING:
                self._failures = 0
                self._say(ReplicaState.READY)
                self._soon(20)
            case ReplicaState.READY if dice.random() < self.machine.dies:
                self._fail("its engine ended")
            case ReplicaState.READY:
                self._soon(20)
            case ReplicaState.DRAINING if self._if_idle:
                self._declined += 1
                self._stay()
            case ReplicaState.DRAINING:
                self._end()

    def _withdraw(self, *, if_idle: bool) -> None:
        self._withdrawal += 1
        self._if_idle = if_idle
        self._say(ReplicaState.DRAINING)
        self._timer.cancel()
        self._soon(IDLE_PATIENCE if if_idle else self.order.drain_timeout, exact=True)

    def _stay(self) -> None:
        self._if_idle = False
        self._timer.cancel()
        self._say(ReplicaState.READY)
        self._soon(20)

    def _breaks(self) -> bool:
        return self.order.env.get("VERSION", "").startswith(BROKEN)

    def _fail(self, reason: str) -> None:
        self._failures += 1
        pause = min(8.0, 2.0**self._failures / 2)
        self._say(ReplicaState.FAILED, reason=reason, retry_in=pause)
        self._soon(pause, exact=True)

    def _end(self) -> None:
        self._timer.cancel()
        self._say(ReplicaState.STOPPED)
        self.context.stop()

    def _soon(self, mean: float, *, exact: bool = False) -> None:
        delay = mean if exact else self.machine.dice.expovariate(1 / mean)
        self._timer = self.context.after(delay, _Next())

    def _say(self, state: ReplicaState, **more: Any) -> None:
        self._state = state
        serves = state is ReplicaState.READY
        self._life.ready_since = trio.current_time() if serves else None
        self._said = ReplicaReport(
            self._id,
            state,
            address=f"unix:/{self.order.key}" if serves else "",
            failures=self._failures,
            starts=self._starts,
            withdrawal=self._withdrawal,
            if_idle=self._if_idle,
            declined=self._declined,
            gpus=self.order.num_gpus,
            fingerprint=self.order.fingerprint,
            since=trio.current_time(),
            **more,
        )
        self._owner.tell(ReplicaChanged(self._said))
