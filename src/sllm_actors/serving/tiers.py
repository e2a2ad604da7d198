"""Whether a replica can be put to sleep or woken now: what whoever asks is told, and what the replica is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sllm_actors.engines.backends.sleep import LEVELS
from sllm_actors.engines.messages import ReplicaReport, ReplicaState, SleepReplica, WakeReplica

from .answers import answer, refusal
from .messages import ControlAnswer

Decide: TypeAlias = Callable[[ReplicaReport], tuple[ControlAnswer, SleepReplica | WakeReplica | None]]


def put_to_sleep(report: ReplicaReport, level: int) -> tuple[ControlAnswer, SleepReplica | None]:
    """Decide about a request to put a replica to sleep."""
    if level not in LEVELS:
        return refusal(400, f"level must be 0, 1 or 2, not {level}", "invalid_request", "level"), None
    if report.state is ReplicaState.ASLEEP:
        return _said(200, report, ReplicaState.ASLEEP, "it is asleep, or about to be"), None
    if report.state is not ReplicaState.READY:
        return _not_now(report, "only an instance that is ready can be put to sleep"), None
    if not report.can_sleep:
        sentence = f"the engine of {report.id} cannot sleep: delete its deployment if you need the room"
        return refusal(409, sentence, "cannot_sleep"), None
    sentence = "it takes no more requests, and sleeps when those under way have ended"
    return _said(202, report, ReplicaState.ASLEEP, sentence), SleepReplica(level)


def wake_up(report: ReplicaReport) -> tuple[ControlAnswer, WakeReplica | None]:
    """Decide about a request to wake a replica."""
    if report.state is ReplicaState.READY:
        return _said(200, report, ReplicaState.READY, "it is awake"), None
    if report.state is not ReplicaState.ASLEEP:
        return _not_now(report, "only an instance that is asleep can be woken"), None
    return _said(202, report, ReplicaState.ASLEEP, "it is waking up"), WakeReplica()


def _said(status: int, report: ReplicaReport, state: ReplicaState, sentence: str) -> ControlAnswer:
    return answer(status, {"id": str(report.id), "state": state.value, "message": sentence})


def _not_now(report: ReplicaReport, rule: str) -> ControlAnswer:
    return refusal(409, f"{report.id} is {report.state.value}: {rule}", "wrong_state")
