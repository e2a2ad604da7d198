"""Replicas that leave, and what becomes of the requests there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.kit import replica, served
from tests.gateway.routing.balancing import SMOL, Bench

from sllm_actors.engines.external import ServerAccess
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.asked import Outcome
from sllm_actors.gateway.routing.loss import Lost
from sllm_actors.gateway.routing.shell import REST_PAUSE


def losses(bench: Bench, *reports: ReplicaReport, linked: bool = True, **more: Any) -> list[Lost]:
    """Return what a request at replica 1 hears of a new route."""
    bench.replicas(0)
    request = bench.taken()
    bench.linked = linked
    bench.route(*reports, **more)
    assert bench.balancer.total == 1, "it counts until it is done"
    bench.done(request, Outcome.BROKE)
    return [heard for heard in request.heard if isinstance(heard, Lost)]


@pytest.mark.parametrize("state", [ReplicaState.DRAINING, ReplicaState.ASLEEP])
def test_requests_end_at_a_replica_that_is_drained_or_sleeps(state: ReplicaState) -> None:
    assert losses(Bench(), replica(state=state)) == []


def test_requests_end_at_a_replica_that_the_head_names_no_longer() -> None:
    assert losses(Bench(), replica(), model=served(revisions=(2,))) == []


def test_requests_at_an_engine_that_died_hear_why() -> None:
    failed = replica(state=ReplicaState.FAILED, reason="out of memory", exit_status="signal SIGKILL")
    assert losses(Bench(), failed) == [Lost("out of memory", died=True)]
    assert losses(Bench(), replica(attempt=2)) == [Lost("its engine ended")]
    assert losses(Bench()) == [Lost("its replica was stopped")]


def test_requests_at_a_replica_of_a_worker_whose_link_is_lost_hear_so() -> None:
    (lost,) = losses(Bench(), linked=False)
    assert lost == Lost("the link to its worker is lost (6 beats missed)")


def test_requests_at_an_external_server_do_not_depend_on_what_a_worker_finds() -> None:
    bench = Bench()
    external: dict[str, Any] = {"server": ServerAccess()}
    bench.route(replica(**external))
    request = bench.taken()
    bench.route(replica(state=ReplicaState.FAILED, **external))
    assert len(request.heard) == 1
    bench.done(request)


def test_a_loss_is_told_once_though_the_replica_comes_and_goes() -> None:
    bench = Bench()
    bench.replicas(2)
    old = bench.taken()
    for _ in range(2):
        bench.route()
        bench.replicas(2)
    new = bench.taken()
    bench.route()
    assert [len(old.heard), len(new.heard)] == [2, 2]
    bench.replicas(2)
    bench.held()
    bench.done(old)
    assert bench.balancer.held(SMOL) == 0, "its requests counted there all the time"
    bench.done(new)


def test_a_request_that_ends_as_it_is_about_to_hear_of_a_loss_hears_nothing() -> None:
    bench = Bench()
    bench.replicas(0)
    one, other = bench.taken(), bench.taken()
    one.then = lambda _: bench.done(other)
    bench.route()
    assert (len(one.heard), len(other.heard)) == (2, 1)


def test_a_deployment_that_is_gone_is_forgotten_when_its_last_request_has_ended() -> None:
    bench = Bench()
    bench.replicas(0)
    request = bench.taken()
    bench.gone()
    assert bench.take()[1] is None
    bench.done(request, Outcome.BROKE)
    assert bench.balancer._lines == {}
    bench.replicas()
    waiting = bench.held()
    assert waiting.hold is not None
    bench.balancer.leave(waiting.hold)
    bench.gone()
    assert bench.balancer._lines == {}


def test_all_who_wait_for_a_replica_to_be_idle_are_called_once() -> None:
    bench, called = Bench(), list[int]()
    (ready,) = bench.replicas(0).ready
    requests = [bench.taken(), bench.taken()]
    bench.balancer.when_idle(ready, lambda: called.append(1))
    bench.balancer.when_idle(ready, lambda: called.append(2))
    bench.route(replica(state=ReplicaState.DRAINING))
    bench.done(requests[0])
    assert called == []
    bench.done(requests[1])
    assert called == [1, 2]
    bench.replicas(0)
    bench.done(bench.taken())
    assert called == [1, 2]
    request = bench.taken()
    bench.balancer.when_idle(ready, lambda: called.append(3))
    bench.done(request)
    bench.gone()
    bench.balancer.when_idle(ready, lambda: called.append(4))
    assert called == [1, 2, 3, 4]
    assert bench.balancer.at(ready) == 0


def test_a_share_that_shrinks_lets_what_is_under_way_end_and_no_more_come() -> None:
    bench = Bench()
    bench.replicas(4)
    requests = [bench.taken() for _ in range(4)]
    bench.replicas(4, gateways=2)
    waiting = bench.held()
    bench.done(requests.pop())
    bench.done(requests.pop())
    assert waiting.heard == []
    bench.done(requests.pop())
    assert waiting.number == 1


def test_another_policy_is_used_from_its_route_on() -> None:
    bench = Bench()
    bench.replicas(0, 0, policy="round-robin")
    numbers = []
    for _ in range(4):
        request = bench.taken()
        numbers.append(request.number)
        bench.done(request)
    assert numbers == [1, 2, 1, 2]
    bench.replicas(0, 0, policy="p2c")
    busy = [bench.taken() for _ in range(4)]
    assert sorted(each.number for each in busy) == [1, 1, 2, 2]


def test_rest_is_said_when_the_last_request_ends_but_not_too_often() -> None:
    bench = Bench()
    bench.replicas(1)
    first, waiting = bench.taken(), bench.held()
    bench.done(first)
    assert bench.shell.rests == 0, "the one that waited is there now"
    bench.done(waiting)
    assert bench.shell.rests == 1
    bench.done(bench.taken())
    assert bench.shell.rests == 1
    bench.now += REST_PAUSE
    bench.done(bench.taken())
    assert bench.shell.rests == 2


def test_what_changed_is_said_once_until_it_is_taken() -> None:
    bench = Bench()
    bench.replicas(1)
    request = bench.taken()
    bench.held()
    assert bench.shell.changes == 1
    assert bench.balancer.take_changed() == {SMOL}
    assert bench.balancer.take_changed() == frozenset()
    bench.done(request)
    assert bench.shell.changes == 2
    bench.replicas(0)
    bench.balancer.take_changed()
    bench.taken()
    assert bench.balancer.take_changed() == {SMOL}
