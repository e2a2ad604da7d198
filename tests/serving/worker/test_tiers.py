"""Who can be put to sleep or woken, and what whoever asks is told."""

from __future__ import annotations

import pytest
from attrs import evolve
from tests.serving.kit import key, outcome_of, report

from sllm_actors.engines.messages import ReplicaState, SleepReplica, WakeReplica
from sllm_actors.serving.worker.tiers import put_to_sleep, wake_up


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_ready_replica_whose_engine_can_is_put_to_sleep(level: int) -> None:
    said, order = put_to_sleep(report(key(1), can_sleep=True), level)
    outcome, document = outcome_of(said)
    assert (outcome, order) == ("pending", SleepReplica(level))
    assert document["state"] == "asleep"


@pytest.mark.parametrize(
    ("state", "can_sleep", "level", "outcome", "code"),
    [
        (ReplicaState.READY, True, 3, "invalid", "invalid_request"),
        (ReplicaState.READY, True, -1, "invalid", "invalid_request"),
        (ReplicaState.READY, False, 1, "conflict", "cannot_sleep"),
        (ReplicaState.STARTING, True, 1, "conflict", "wrong_state"),
        (ReplicaState.FAILED, True, 1, "conflict", "wrong_state"),
        (ReplicaState.ASLEEP, True, 1, "done", None),
    ],
)
def test_no_other_is_and_a_sentence_says_why(
    state: ReplicaState, can_sleep: bool, level: int, outcome: str, code: str | None
) -> None:
    said, order = put_to_sleep(report(key(1), state, can_sleep=can_sleep), level)
    found, document = outcome_of(said)
    assert (found, order, document.get("code")) == (outcome, None, code)
    assert document["message"]


@pytest.mark.parametrize(
    ("level", "sentence"),
    [
        (1, "it is asleep, or about to be"),
        (2, "it is asleep, or about to be, at level 2"),
        (None, "it is waking up"),
    ],
)
def test_one_that_is_asleep_says_at_which_level(level: int | None, sentence: str) -> None:
    asleep = evolve(report(key(1), ReplicaState.ASLEEP, can_sleep=True), level=level)
    said, order = put_to_sleep(asleep, 1)
    assert (outcome_of(said)[1]["message"], order) == (sentence, None)


@pytest.mark.parametrize(
    ("state", "outcome", "order"),
    [
        (ReplicaState.ASLEEP, "pending", WakeReplica()),
        (ReplicaState.READY, "done", None),
        (ReplicaState.DRAINING, "conflict", None),
        (ReplicaState.PENDING, "conflict", None),
    ],
)
def test_a_replica_that_sleeps_is_woken(state: ReplicaState, outcome: str, order: WakeReplica | None) -> None:
    said, made = wake_up(report(key(1), state))
    assert (outcome_of(said)[0], made) == (outcome, order)
