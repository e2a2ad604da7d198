"""Requests that are given a replica, or wait for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway.kit import replica
from tests.gateway.routing.balancing import SMOL, Bench, Request, ids, refusal

from sllm_actors.api_error import ApiError
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway import errors
from sllm_actors.gateway.routing.asked import Asked, Outcome, Stored
from sllm_actors.gateway.routing.balancer import SLICE


def test_a_request_counts_until_it_is_done() -> None:
    bench = Bench()
    (ready,) = bench.replicas(0).ready
    requests = [bench.taken() for _ in range(3)]
    balancer = bench.balancer
    assert (balancer.total, balancer.at(ready), balancer.in_flight(SMOL)) == (3, 3, 3)
    for request, outcome in zip(requests, Outcome, strict=True):
        bench.done(request, outcome)
    assert (balancer.total, balancer.at(ready), balancer.in_flight(SMOL)) == (0, 0, 0)
    with pytest.raises(KeyError):
        bench.done(requests[0])
    assert balancer.in_flight("nobody:vllm") == balancer.held("nobody:vllm") == 0


def test_a_full_replica_takes_the_next_when_one_is_done_in_order_of_priority_then_age() -> None:
    bench = Bench()
    bench.replicas(2)
    first, second = bench.taken(), bench.taken()
    waiting = [bench.held(priority=priority) for priority in (0, 5, 5, 0, -1)]
    order: list[Request] = []
    for each in waiting:
        each.then = order.append
    assert [bench.balancer.ahead_of(each.hold) for each in waiting if each.hold] == [2, 0, 1, 3, 4]
    for request in (first, second, waiting[1], waiting[2], waiting[0]):
        bench.done(request)
    assert order == [waiting[index] for index in (1, 2, 0, 3, 4)]
    assert bench.balancer.held(SMOL) == 0
    assert waiting[0].hold is not None
    assert bench.balancer.ahead_of(waiting[0].hold) is None
    assert bench.balancer.expected_wait(waiting[0].hold) is None


def test_a_replica_that_comes_takes_as_many_as_it_can_and_no_more() -> None:
    bench = Bench()
    bench.replicas()
    waiting = [bench.held() for _ in range(5)]
    assert bench.shell.first_holds == [SMOL]
    bench.replicas(3)
    assert [len(each.heard) for each in waiting] == [1, 1, 1, 0, 0]
    assert bench.balancer.held(SMOL) == 2


def test_a_replica_without_a_limit_is_given_what_waits_in_slices_and_nobody_goes_before() -> None:
    bench = Bench()
    bench.replicas()
    waiting = [bench.held() for _ in range(3 * SLICE)]
    bench.replicas(0)
    assert sum(len(each.heard) for each in waiting) == SLICE
    late = bench.held()
    done, *_ = waiting
    bench.done(done)
    assert sum(len(each.heard) for each in waiting) == SLICE
    bench.turns()
    assert [len(each.heard) for each in [*waiting, late]] == [1] * (3 * SLICE + 1)
    bench.taken()


def test_a_deployment_that_goes_in_the_middle_of_a_release_refuses_the_rest() -> None:
    bench = Bench()
    bench.replicas()
    waiting = [bench.held() for _ in range(2 * SLICE)]
    bench.replicas(0)
    bench.gone()
    bench.turns()
    assert [each.code for each in waiting[SLICE:]] == ["model_not_found"] * SLICE
    for each in waiting[:SLICE]:
        bench.done(each)
    assert bench.balancer._lines == {}, "nothing is remembered"


def test_a_client_that_leaves_frees_what_it_had() -> None:
    bench = Bench()
    bench.replicas(1, hold_limit=2)
    busy, one, other = bench.taken(), bench.held(), bench.held()
    assert one.hold is not None
    assert other.hold is not None
    assert refusal(bench).code == "hold_queue_full"
    assert bench.balancer.leave(one.hold)
    assert not bench.balancer.leave(one.hold), "it has left already"
    bench.done(busy)
    assert one.heard == []
    assert not bench.balancer.leave(other.hold), "it was granted, and so is under way"
    bench.done(other, Outcome.LEFT)
    assert bench.balancer.total == 0


def test_a_client_that_leaves_before_it_is_told_is_told_nothing() -> None:
    bench = Bench()
    bench.replicas()
    one, other, third = bench.held(), bench.held(), bench.held()
    held = other.hold
    assert held is not None

    def leave(_: Request) -> None:
        assert bench.balancer.leave(held)

    one.then = leave
    bench.replicas(2)
    assert other.heard == []
    assert third.number == 1, "the place of the one that left"
    assert bench.balancer.total == 2
    refused = [bench.held(), bench.held()]
    second = refused[1].hold
    assert second is not None
    refused[0].then = lambda _: leave_quietly(bench.balancer.leave, second)
    bench.gone()
    assert refused[0].code == "model_not_found"
    assert refused[1].heard == []


def leave_quietly(leave: Callable[[Any], bool], hold: Any) -> None:
    assert leave(hold)


def test_a_request_that_is_told_may_ask_for_more_at_once() -> None:
    bench = Bench()
    bench.replicas(1)
    busy, one, other = bench.taken(), bench.held(), bench.held()
    one.then = bench.done
    bench.done(busy)
    assert (len(one.heard), len(other.heard)) == (1, 1)
    assert bench.balancer.total == 1


def test_a_mistake_of_one_request_is_not_anothers() -> None:
    bench = Bench()
    bench.replicas()
    one, other = bench.held(), bench.held()

    def fail(_: Request) -> None:
        raise ZeroDivisionError

    one.then = fail
    bench.replicas(0)
    assert len(other.heard) == 1
    assert [type(error) for error in bench.shell.errors] == [ZeroDivisionError]


def test_a_request_that_waits_though_there_is_room_goes_in_the_next_turn() -> None:
    bench = Bench()
    bench.replicas(1)
    request = Request(Asked(SMOL))
    bench.balancer.hold(request.asked, request)
    assert request.heard == []
    bench.turns()
    assert request.number == 1


def test_a_release_that_ends_with_a_slice_needs_no_other_turn() -> None:
    bench = Bench()
    bench.replicas()
    waiting = [bench.held() for _ in range(SLICE)]
    bench.replicas(0)
    assert all(len(each.heard) == 1 for each in waiting)
    bench.taken()


def test_a_deployment_that_goes_before_a_turn_is_forgotten() -> None:
    bench = Bench()
    bench.replicas(1)
    request = Request(Asked(SMOL))
    hold = bench.balancer.hold(request.asked, request)
    bench.balancer.leave(hold)
    bench.gone()
    assert bench.balancer._lines == bench.balancer._releasing == {}


def test_what_is_wanted_of_a_deployment_is_known() -> None:
    bench = Bench()
    assert (bench.balancer.ready(SMOL), bench.balancer.busy()) == (0, [])
    bench.replicas(1, 1)
    assert (bench.balancer.ready(SMOL), bench.balancer.busy()) == (2, [])
    request = bench.taken()
    assert bench.balancer.busy() == [SMOL]
    bench.done(request)
    bench.replicas()
    bench.held()
    assert (bench.balancer.ready(SMOL), bench.balancer.busy()) == (0, [SMOL])


def test_each_request_that_begins_counts_once_as_a_use_and_the_last_wish_holds() -> None:
    bench = Bench()
    bench.replicas(1)
    assert bench.balancer.take_uses("unknown:llamacpp") == (0, None)
    one = bench.taken(keep_alive=60.0)
    two = bench.held(keep_alive=0.0)
    bench.done(one)
    assert two.number == 1
    assert bench.balancer.take_uses(SMOL) == (2, 0.0), "one began at a replica, and one waited first"
    bench.done(two)
    bench.done(bench.taken())
    assert bench.balancer.take_uses(SMOL) == (1, None)
    assert bench.balancer.take_uses(SMOL) == (0, None)


# ---- requests that only one replica can serve


def test_a_request_about_what_one_replica_holds_goes_there_or_waits_for_it() -> None:
    bench = Bench()
    two = bench.replicas(1, 1).ready[1]
    stored = Stored("resp_1", two.id)
    first = bench.taken(stored=stored)
    assert first.number == 2
    waiting = bench.held(stored=stored)
    other = bench.taken()
    assert other.number == 1, "what waits keeps nobody else"
    bench.done(other)
    assert waiting.heard == []
    bench.done(first)
    assert waiting.number == 2


def test_it_is_refused_when_that_replica_is_gone() -> None:
    bench = Bench()
    two = bench.replicas(0, 1).ready[1]
    stored = Stored("resp_1", two.id)
    bench.taken(stored=stored)
    waiting = bench.held(stored=stored)
    bench.route(replica(), replica(number=2, state=ReplicaState.ASLEEP))
    assert waiting.heard == [], "it is woken"
    bench.replicas(0)
    assert waiting.code == "unknown_id"
    with pytest.raises(ApiError, match="'resp_1' is gone"):
        bench.held(stored=stored)


# ---- requests that were tried in vain


def test_a_request_never_goes_to_a_replica_that_it_was_tried_on() -> None:
    bench = Bench()
    ready = bench.replicas(1, 1).ready
    one = bench.taken(tried=ids(ready[:1]))
    assert one.number == 2
    waiting = bench.held(tried=ids(ready[:1]))
    other = bench.taken()
    assert other.number == 1, "what waits cannot use it"
    bench.done(other)
    assert waiting.heard == []
    bench.done(one)
    assert waiting.number == 2


def test_one_that_broke_on_the_only_replica_waits_to_hear_that_it_is_no_longer_ready() -> None:
    bench = Bench(restart_notice=2.0)
    ready = bench.replicas(0).ready
    broke = errors.engine_broke(SMOL, "it closed the connection")
    heard = bench.held(tried=ids(ready), error=broke)
    bench.wait(1.0)
    bench.route(replica(state=ReplicaState.STARTING, attempt=2))
    bench.wait(9.0)
    assert heard.heard == [], "its worker knows, so it will be back"
    bench.route(replica(attempt=2))
    assert heard.number == 1
    unheard = bench.held(tried=ids(bench.replicas(0).ready), error=broke)
    bench.wait(1.9)
    assert unheard.heard == []
    bench.wait(0.1)
    assert unheard.code == "engine_broke"


def test_one_whose_notice_is_over_waits_for_another_replica_that_is_full_and_for_no_other() -> None:
    bench = Bench(restart_notice=2.0)
    ready = bench.replicas(0, 1).ready
    bench.taken(tried=ids(ready[:1]))
    waiting = bench.held(tried=ids(ready[:1]), error=errors.engine_broke(SMOL, "x"))
    bench.wait(5.0)
    assert waiting.heard == []
    bench.replicas(0)
    assert waiting.code == "engine_broke", "only the replica that it broke on is left"
    fresh = bench.held(tried=ids(ready[:1]))
    bench.replicas(0, hold_limit=9)
    assert fresh.heard == [], "its notice is not over"
