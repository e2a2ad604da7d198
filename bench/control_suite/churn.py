"""Engines that are restarted all the time: what their workers report while the head is measured."""

from __future__ import annotations

import math
import random
import time
from collections import deque

import anyio

from sllm_actors.engines.messages import ReplicaState

from .fleet import Fleet
from .worker import SimReplica, SimWorker

RESTART = 0.25
"""Seconds that an engine takes at least to be ready again when it was restarted in its place."""

TICK = 0.002
"""Seconds between two times at which what is due is sent."""


class Churn:
    """Restarts replicas in their places, in turn over all of them in a random order.

    Attributes:
        sent: How many events were sent.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        everything = [
            (worker, replica) for worker in fleet.workers.values() for replica in worker.replicas.values()
        ]
        random.Random(7).shuffle(everything)
        self._serving = deque(everything)
        self._starting: deque[tuple[float, SimWorker, SimReplica]] = deque()
        self.sent = 0

    async def run(self, rate: float, seconds: float) -> None:
        """Send events at this rate, whatever the head makes of them, and count them as ``sent``."""
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            due = math.ceil(passed * rate)
            for _ in range(due - self.sent):
                self._event()
            self.sent = due
            await anyio.sleep(TICK)

    def _event(self) -> None:
        now = time.perf_counter()
        if self._starting and (not self._serving or self._starting[0][0] + RESTART <= now):
            self._ready_again()
        else:
            worker, replica = self._serving.popleft()
            self._fleet.become(worker, replica, ReplicaState.STARTING)
            self._starting.append((now, worker, replica))

    def _ready_again(self) -> None:
        _, worker, replica = self._starting.popleft()
        self._fleet.become(worker, replica, ReplicaState.READY)
        self._serving.append((worker, replica))

    def finish(self) -> None:
        """Let every replica be ready again."""
        while self._starting:
            self._ready_again()
