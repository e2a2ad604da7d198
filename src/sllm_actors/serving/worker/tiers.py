"""Whether a replica can be put to sleep or woken now: the client's answer, and the replica's message.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sllm_actors.engines.backends.sleep import LEVELS
from sllm_actors.engines.messages import ReplicaReport, ReplicaState, SleepReplica, WakeReplica
from sllm_actors.serving.answers import done
from sllm_actors.serving.messages import ControlAnswer, Done, Refusal, RefusalKind

Decide: TypeAlias = Callable[[ReplicaReport], tuple[ControlAnswer, SleepReplica | WakeReplica | None]]


def put_to_sleep(report: ReplicaReport, level: int) -> tuple[ControlAnswer, SleepReplica | None]:
    """Decide about a request to put a replica to sleep at a level from 0 to 2.

    Returns:
        The answer for the client, and the message for the replica; None if it needs none.
    """
    if level not in LEVELS:
        sentence = f"level must be 0, 1 or 2, not {level}"
        return Refusal(RefusalKind.INVALID, "invalid_request", sentence, "level"), None
    if report.state is ReplicaState.ASLEEP:
        sentence = "it is asleep, or about to be"
        if report.level is None:
            sentence = "it is waking up"
        elif report.level != level:
            sentence += f", at level {report.level}"
        return _said(report, ReplicaState.ASLEEP, sentence), None
    if report.state is not ReplicaState.READY:
        return _not_now(report, "only an instance that is ready can be put to sleep"), None
    if not report.can_sleep:
        sentence = f"the engine of {report.instance} cannot sleep: delete its deployment if you need the room"
        return Refusal(RefusalKind.CONFLICT, "cannot_sleep", sentence), None
    sentence = "it takes no more requests, and sleeps when those under way have ended"
    return _said(report, ReplicaState.ASLEEP, sentence, pending=True), SleepReplica(level)


def wake_up(report: ReplicaReport) -> tuple[ControlAnswer, WakeReplica | None]:
    """Decide about a request to wake a replica. See ``put_to_sleep``."""
    if report.state is ReplicaState.READY:
        return _said(report, ReplicaState.READY, "it is awake"), None
    if report.state is not ReplicaState.ASLEEP:
        return _not_now(report, "only an instance that is asleep can be woken"), None
    return _said(report, ReplicaState.ASLEEP, "it is waking up", pending=True), WakeReplica()


def _said(report: ReplicaReport, state: ReplicaState, sentence: str, *, pending: bool = False) -> Done:
    return done({"id": report.instance, "state": state.value, "message": sentence}, pending=pending)


def _not_now(report: ReplicaReport, rule: str) -> Refusal:
    return Refusal(RefusalKind.CONFLICT, "wrong_state", f"{report.instance} is {report.state.value}: {rule}")
