"""Replicas in the middle of their lives."""

from __future__ import annotations

from attrs import evolve

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.engines.replica.events import (
    Event,
    SleepAsked,
    Unreached,
)
from sllm_actors.engines.replica.lifecycle import Replica, step

READY = Replica(state=ReplicaState.READY, attempt=1, address="unix:/run/a.sock", pid=7)
STARTING = Replica(state=ReplicaState.STARTING, attempt=1)
SLEEPER = evolve(READY, can_sleep=True)
SLEEP_IF_IDLE = SleepAsked(1, if_idle=True)


def after(replica: Replica, *events: Event, now: float = 0.0) -> Replica:
    for event in events:
        replica, _ = step(replica, event, now)
    return replica


LOST = after(STARTING, Unreached(1, "refused"))
