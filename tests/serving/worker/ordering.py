"""Orders of the head, and assignments in the middle of their lives."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from tests.serving.kit import key

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaOrder
from sllm_actors.serving.messages import Order
from sllm_actors.serving.worker.orders.assignment import Phase
from sllm_actors.serving.worker.orders.assignments import Assignments
from sllm_actors.serving.worker.orders.effects import (
    Effect,
    Start,
)

A, B, C = key(0), key(1), key(2)
ORDER = ReplicaOrder(A, "m", "llamacpp", "/m.gguf", num_gpus=2, fingerprint="f", document="{}")


def run(place: ReplicaKey = A, **more: Any) -> Order:
    return Order(place, evolve(ORDER, key=place, **more))


def stop(place: ReplicaKey = A) -> Order:
    return Order(place, None, "it is not wanted")


def stop_if_idle(place: ReplicaKey = A, turn: int = 0) -> Order:
    return Order(place, None, "it is idle", if_idle=True, turn=turn)


def sleep(level: int = 1, place: ReplicaKey = A, turn: int = 0) -> Order:
    return Order(place, evolve(ORDER, key=place), sleep=level, turn=turn)


def kinds(effects: list[Effect]) -> list[type]:
    return [type(each) for each in effects]


def running() -> Assignments:
    """Return the state in which A runs, since its first check."""
    assignments = Assignments()
    assignments.take(run())
    assert kinds(assignments.checked(A, 1, "", now=100.0)) == [Start]
    return assignments


def resting(failure: str = "KeyError: 1") -> Assignments:
    assignments = running()
    assignments.ended(A, failure, now=101.0, chance=0.0)
    assert assignments.phase(A) is Phase.RESTING
    return assignments


def refused() -> Assignments:
    assignments = Assignments()
    assignments.take(run())
    assignments.checked(A, 1, "there is no vllm", now=100.0)
    assert assignments.phase(A) is Phase.REFUSED
    return assignments
