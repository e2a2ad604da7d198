"""Which gateways have let go of a replica."""

from __future__ import annotations

from tests.serving.kit import key

from sllm_actors.engines.messages import Drained, ReplicaReport, ReplicaState
from sllm_actors.serving.messages import Withdrawn
from sllm_actors.serving.worker.withdrawals import Withdrawals

REPLICA = key(0).attempt(1)


def leaving(state: ReplicaState = ReplicaState.DRAINING, number: int = 1) -> ReplicaReport:
    return ReplicaReport(REPLICA, state, withdrawal=number)


def test_every_linked_gateway_is_waited_for_and_that_is_said_once() -> None:
    withdrawals = Withdrawals()
    withdrawals.reported(leaving())
    withdrawals.reported(leaving())  # its address is gone, say
    withdrawals.said(Withdrawn("g1", REPLICA, 1))
    assert withdrawals.complete({"g1", "g2"}) == []
    withdrawals.said(Withdrawn("g2", REPLICA, 1))
    withdrawals.said(Withdrawn("g2", REPLICA, 1))
    assert withdrawals.complete({"g1", "g2"}) == [Drained(REPLICA, 1)]
    assert withdrawals.complete({"g1", "g2"}) == []
    assert withdrawals.complete(set()) == []


def test_without_gateways_nobody_is_waited_for() -> None:
    withdrawals = Withdrawals()
    withdrawals.reported(leaving(ReplicaState.ASLEEP))
    assert withdrawals.complete(set()) == [Drained(REPLICA, 1)]


def test_what_is_said_of_another_withdrawal_or_life_does_not_count() -> None:
    withdrawals = Withdrawals()
    withdrawals.said(Withdrawn("g1", REPLICA, 1))
    withdrawals.reported(leaving(ReplicaState.ASLEEP, 1))
    withdrawals.reported(leaving(ReplicaState.DRAINING, 2))
    withdrawals.said(Withdrawn("g1", REPLICA, 1))
    withdrawals.said(Withdrawn("g1", key(0).attempt(2), 2))
    assert withdrawals.complete({"g1"}) == []
    withdrawals.said(Withdrawn("g1", REPLICA, 2))
    assert withdrawals.complete({"g1"}) == [Drained(REPLICA, 2)]


def test_a_replica_that_serves_again_or_is_gone_is_not_waited_for() -> None:
    withdrawals = Withdrawals()
    withdrawals.reported(leaving(ReplicaState.ASLEEP))
    withdrawals.reported(ReplicaReport(REPLICA, ReplicaState.READY, withdrawal=1))
    withdrawals.said(Withdrawn("g1", REPLICA, 1))
    assert withdrawals.complete({"g1"}) == []
    withdrawals.reported(leaving(number=2))
    withdrawals.ended(key(1))
    withdrawals.ended(key(0))
    assert withdrawals.complete(set()) == []
