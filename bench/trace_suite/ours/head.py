"""The head: a picture of the cluster on virtual time, and a store that takes every write at once."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from bench.trace_suite.clock import Clock
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving import control
from sllm_actors.serving.deployment.spec import DeploymentSpec
from sllm_actors.serving.messages import Order
from sllm_actors.serving.picture.effects import Effects
from sllm_actors.serving.picture.events import Event, NumbersReserved, TimePassed
from sllm_actors.serving.picture.picture import Picture
from sllm_actors.serving.store.records import StoredState

Obey = Callable[[str, ReplicaKey, Order], None]


class Head:
    """Steps a picture by its events and by its own timers.

    Args:
        clock: The time.
        obey: Is told each order: the node id of the worker, the replica, and what to do about it.

    Attributes:
        picture: The picture.
    """

    def __init__(self, clock: Clock, obey: Obey) -> None:
        self._clock = clock
        self._obey = obey
        self._wakes_at = inf
        self.picture = Picture(StoredState(), now=clock.now, wall=clock.now, settle_time=0.0)

    def deploy(self, spec: DeploymentSpec, uid: str) -> None:
        """Deploy something."""
        for event in control.add(self.picture, spec, uid, self._clock.now, ()).events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Let an event happen, and carry out all that follows."""
        now = self._clock.now
        self._carry_out(self.picture.step(event, now))
        while self.picture.more:
            self.picture.plan(now)
            self._carry_out(self.picture.effects())
        due = self.picture.due()
        if due is not None and due < self._wakes_at:
            self._wakes_at = due
            self._clock.at(due, self._wake)

    def _wake(self) -> None:
        if self._clock.now >= self._wakes_at:
            self._wakes_at = inf
            self.take(TimePassed())

    def _carry_out(self, effects: Effects) -> None:
        for uid, below in effects.numbers.items():
            self.take(NumbersReserved(uid, below))
        for (node, key), order in effects.orders.items():
            if order is not None:
                self._obey(node, key, order)
