"""How long a request waits for a replica, and what it is told when waiting is of no use."""

from __future__ import annotations

from typing import Any

from tests.gateway.kit import replica
from tests.gateway.routing.balancing import SMOL, Bench, refusal

from sllm_actors.api_error import ApiError
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway import errors


def test_what_is_not_deployed_or_has_failed_is_refused_at_once() -> None:
    bench = Bench()
    assert refusal(bench).code == "model_not_found"
    failed = replica(state=ReplicaState.FAILED, reason="no memory", retry_in=20.0)
    bench.route(failed)
    error = refusal(bench)
    assert (error.status, error.code, error.retry_after) == (503, "replicas_failed", 20.0)
    assert error.message.endswith("no memory")
    bench.route(no_place="no worker has a free GPU")
    assert refusal(bench).code == "no_place"
    external = "a:external"
    bench.route(replica(external, ReplicaState.FAILED, reason="it is off"), deployment=external)
    assert refusal(bench, external).code == "server_unreachable"


def test_those_that_wait_are_refused_when_waiting_is_of_no_use() -> None:
    bench = Bench()
    bench.replicas()
    one, other = bench.held(), bench.held()
    bench.route(replica(state=ReplicaState.FAILED, reason="no memory"))
    assert [one.code, other.code] == ["replicas_failed"] * 2
    assert one.heard[0] is not other.heard[0], "each has an error of its own, to be raised"
    bench.replicas()
    third = bench.held()
    bench.gone()
    assert third.code == "model_not_found"


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    bench = Bench()
    bench.replicas(1, hold_limit=2)
    busy = bench.taken()
    bench.held(), bench.held()
    error = refusal(bench)
    assert (error.status, error.code, error.retry_after) == (429, "hold_queue_full", 5.0)
    bench.now = 4.0
    bench.done(busy)
    bench.held()
    assert refusal(bench).retry_after == 12.0, "three requests of 4 s each go before"


# ---- time


def test_without_a_replica_the_wait_ends_with_503_after_hold_timeout() -> None:
    bench = Bench()
    bench.replicas(hold_timeout=10.0, queue_timeout=1.0)
    one = bench.held()
    bench.now = 5.0
    other = bench.held(began=1.0)
    bench.wait(5.0)
    assert one.code == "cold_start_timeout"
    assert other.heard == []
    bench.wait(1.0)
    assert isinstance(other.heard[0], ApiError)
    assert (other.heard[0].status, other.heard[0].retry_after) == (503, 10.0)


def test_while_replicas_are_full_the_wait_ends_with_429_after_queue_timeout() -> None:
    bench = Bench()
    bench.replicas(1, hold_timeout=10.0, queue_timeout=2.0)
    bench.taken()
    waiting = bench.held()
    bench.wait(1.9)
    assert waiting.heard == []
    bench.wait(0.1)
    assert isinstance(waiting.heard[0], ApiError)
    assert (waiting.heard[0].status, waiting.heard[0].code) == (429, "queue_timeout")


def test_the_time_to_wait_for_room_counts_from_when_there_are_replicas_and_is_judged_anew() -> None:
    bench = Bench()
    limits: dict[str, Any] = {"hold_timeout": 100.0, "queue_timeout": 5.0}
    bench.replicas(**limits)
    first, second, third = bench.held(), bench.held(), bench.held()
    bench.wait(50.0)
    bench.replicas(1, **limits)
    assert (len(first.heard), len(second.heard)) == (1, 0)
    bench.wait(4.0)
    bench.done(first)
    bench.wait(0.9)
    assert third.heard == []
    bench.route(**limits)
    bench.wait(40.0)
    assert third.heard == [], "there is no replica: a cold start may take longer"
    bench.wait(6.0)
    assert third.code == "cold_start_timeout"


def test_a_shorter_time_to_wait_holds_at_once() -> None:
    bench = Bench()
    bench.replicas(hold_timeout=100.0)
    waiting = bench.held()
    bench.replicas(hold_timeout=3.0)
    bench.wait(3.0)
    assert waiting.code == "cold_start_timeout"


def test_a_wait_ends_at_the_latest_when_the_request_says() -> None:
    bench = Bench()
    bench.replicas()
    late = bench.held(latest=2.0, error=errors.server_unreachable(SMOL, "it is off"))
    bench.wait(2.0)
    assert late.code == "server_unreachable", "the error of the last attempt"


def test_the_expected_wait_is_what_was_measured() -> None:
    bench = Bench()
    bench.replicas()
    waiting = bench.held()
    assert waiting.hold is not None
    expected = bench.balancer.expected_wait
    assert expected(waiting.hold) is None
    bench.route(replica(state=ReplicaState.STARTING))
    bench.now = 8.0
    bench.replicas(1)
    bench.replicas()
    again = bench.held()
    assert again.hold is not None
    assert expected(again.hold) == 8.0
    bench.now = 10.0
    bench.done(waiting)
    bench.replicas(1)
    behind = bench.held()
    assert behind.hold is not None
    assert expected(behind.hold) == 2.0
