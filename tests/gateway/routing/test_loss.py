"""What counts as the loss of a replica that has requests under way, and as the death of its engine."""

from __future__ import annotations

from typing import Any

import pytest

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.life_end import UNKNOWN_EXIT
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.loss import Lost, link_lost, loss_of
from sllm_actors.gateway.routing.memory.knowledge import Knowledge

LIFE = ReplicaId("m:vllm", 1, 1, 7, "uid")
NEXT = ReplicaId("m:vllm", 1, 1, 9, "uid")
OTHER = ReplicaId("m:vllm", 1, 2, 8, "uid")


@pytest.mark.parametrize("state", [ReplicaState.READY, ReplicaState.ASLEEP, ReplicaState.DRAINING])
def test_a_replica_that_serves_or_drains_is_not_lost(state: ReplicaState) -> None:
    # exit status and reason are those of the life before it
    report = ReplicaReport(LIFE, state, reason="it ended", exit_status="signal SIGKILL")

    assert loss_of(LIFE, report) is None


@pytest.mark.parametrize("state", [ReplicaState.FAILED, ReplicaState.STARTING, ReplicaState.PENDING])
def test_an_engine_that_ended_by_itself_has_died(state: ReplicaState) -> None:
    report = ReplicaReport(LIFE, state, reason="it was killed by SIGKILL", exit_status="signal SIGKILL")

    assert loss_of(LIFE, report) == Lost("it was killed by SIGKILL", died=True)


def test_an_engine_has_died_too_where_only_its_next_life_is_reported() -> None:
    report = ReplicaReport(NEXT, ReplicaState.READY, exit_status="exit code 0")

    assert loss_of(LIFE, report) == Lost("exit code 0", died=True)


@pytest.mark.parametrize("state", [ReplicaState.FAILED, ReplicaState.STARTING])
@pytest.mark.parametrize("exit_status", ["", UNKNOWN_EXIT])
def test_an_engine_that_its_worker_ended_or_of_unknown_end_is_lost_and_has_not_died(
    state: ReplicaState, exit_status: str
) -> None:
    report = ReplicaReport(LIFE, state, reason="it hangs", exit_status=exit_status)

    assert loss_of(LIFE, report) == Lost("it hangs", died=False)


def test_a_life_without_any_reason_is_lost_with_a_reason_all_the_same() -> None:
    assert loss_of(LIFE, ReplicaReport(NEXT, ReplicaState.PENDING)) == Lost("its engine ended")


def test_a_replica_that_the_worker_has_no_longer_was_stopped() -> None:
    assert loss_of(LIFE, None) == Lost("its replica was stopped")


def test_a_lost_link_is_no_death() -> None:
    assert link_lost("6 heartbeats missed") == Lost("the link to its worker is lost (6 heartbeats missed)")


# ---- what reports tell of engines that served


def of(life: ReplicaId = LIFE, state: ReplicaState = ReplicaState.READY, **more: Any) -> ReplicaReport:
    return ReplicaReport(life, state, **more)


SERVED = of()
GONE = of(state=ReplicaState.STARTING, exit_status="signal SIGKILL")


def knows(*reports: ReplicaReport) -> Knowledge:
    knowledge = Knowledge()
    knowledge.report("w1", reports)
    return knowledge


@pytest.mark.parametrize(
    "after",
    [
        GONE,
        of(state=ReplicaState.FAILED, exit_status="exit code 0"),
        of(NEXT, exit_status="exit code 0"),
    ],
)
@pytest.mark.parametrize("state", [ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.ASLEEP])
def test_an_engine_that_served_and_ended_has_died(state: ReplicaState, after: ReplicaReport) -> None:
    assert knows(of(state=state)).deaths_in("w1", [after]) == (SERVED.id,)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (of(state=ReplicaState.STARTING), of(state=ReplicaState.FAILED, exit_status="exit code 1")),
        (SERVED, of(state=ReplicaState.FAILED, reason="it hangs")),
        (SERVED, of(state=ReplicaState.DRAINING, exit_status="of the life before")),
        (of(OTHER), GONE),
    ],
    ids=["never served", "ended by its worker", "drains", "another"],
)
def test_no_other_end_is_a_death(before: ReplicaReport, after: ReplicaReport) -> None:
    assert knows(before).deaths_in("w1", [after]) == ()


def test_an_end_while_the_worker_was_not_linked_is_no_death() -> None:
    knowledge = knows(SERVED)
    knowledge.lose("w1")

    assert knowledge.deaths_in("w1", [GONE]) == ()
