"""Who can be put to sleep or woken, and what whoever asks is told."""

from __future__ import annotations

import json

import pytest

from sllm_actors.engines.messages import ReplicaState, SleepReplica, WakeReplica
from sllm_actors.serving.tiers import put_to_sleep, wake_up

from .kit import key, report


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_ready_replica_whose_engine_can_is_put_to_sleep(level: int) -> None:
    said, order = put_to_sleep(report(key(1), can_sleep=True), level)
    assert (said.status, order) == (202, SleepReplica(level))
    assert json.loads(said.body)["state"] == "asleep"


@pytest.mark.parametrize(
    ("state", "can_sleep", "level", "status", "code"),
    [
        (ReplicaState.READY, True, 3, 400, "invalid_request"),
        (ReplicaState.READY, True, -1, 400, "invalid_request"),
        (ReplicaState.READY, False, 1, 409, "cannot_sleep"),
        (ReplicaState.STARTING, True, 1, 409, "wrong_state"),
        (ReplicaState.FAILED, True, 1, 409, "wrong_state"),
        (ReplicaState.ASLEEP, True, 1, 200, None),
    ],
)
def test_no_other_is_and_a_sentence_says_why(
    state: ReplicaState, can_sleep: bool, level: int, status: int, code: str | None
) -> None:
    said, order = put_to_sleep(report(key(1), state, can_sleep=can_sleep), level)
    assert (said.status, order, json.loads(said.body).get("code")) == (status, None, code)
    assert json.loads(said.body)["message"]


@pytest.mark.parametrize(
    ("state", "status", "order"),
    [
        (ReplicaState.ASLEEP, 202, WakeReplica()),
        (ReplicaState.READY, 200, None),
        (ReplicaState.DRAINING, 409, None),
        (ReplicaState.PENDING, 409, None),
    ],
)
def test_a_replica_that_sleeps_is_woken(state: ReplicaState, status: int, order: WakeReplica | None) -> None:
    said, made = wake_up(report(key(1), state))
    assert (said.status, made) == (status, order)
