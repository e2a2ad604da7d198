"""Which replica a request goes to, and which deployment a name means."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica, served

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.board import Board
from sllm_actors.gateway.routing.in_flight import InFlight
from sllm_actors.gateway.routing.route import Route, Upstream, choose, index_names, make_route

STATES = st.sampled_from(list(ReplicaState))


def route(*reports: ReplicaReport, deployment: str = "smol:llamacpp") -> Route:
    model, _, backend = deployment.rpartition(":")
    return make_route(
        deployment, served(model, backend), [("worker-1", report) for report in reports], patience=5
    )


def upstreams(count: int) -> tuple[Upstream, ...]:
    return route(*(replica(number=number) for number in range(1, count + 1))).ready


def test_only_ready_replicas_get_requests() -> None:
    made = route(*(replica(state=state, number=number) for number, state in enumerate(ReplicaState, 1)))
    assert [upstream.id.number for upstream in made.ready] == [
        list(ReplicaState).index(ReplicaState.READY) + 1
    ]
    asleep, draining = (
        list(ReplicaState).index(state) + 1 for state in (ReplicaState.ASLEEP, ReplicaState.DRAINING)
    )
    assert [upstream.id.number for upstream in made.leaving] == [asleep, draining]
    assert [upstream.id.number for upstream in made.asleep] == [asleep]
    assert made.failure is None


def test_a_deployment_has_failed_when_nothing_is_left_to_wait_for() -> None:
    early = replica(state=ReplicaState.FAILED, reason="early", since=1.0, retry_in=60.0)
    late = replica(state=ReplicaState.FAILED, reason="late", since=2.0, number=2)
    made = route(early, late).failure
    assert made is not None
    assert (made.reason, made.retry_in) == ("late", 60.0)
    assert route(early, late, replica(state=ReplicaState.STARTING, number=3)).failure is None
    assert route(replica(state=ReplicaState.FAILED, retry_in=1.0)).failure is None, "it is tried again soon"
    assert route().failure is None, "a deployment without replicas is about to get one"


def test_a_deployment_without_a_place_has_failed_unless_a_replica_is_there() -> None:
    model = served("smol", "llamacpp", no_place="no worker has a free GPU")
    failure = make_route("smol:llamacpp", model, [], patience=5).failure
    assert failure is not None
    assert (failure.reason, failure.placed) == ("no worker has a free GPU", False)
    assert make_route("smol:llamacpp", model, [("worker-1", replica())], patience=5).failure is None


@given(st.lists(STATES, max_size=6), st.randoms(use_true_random=False))
def test_a_route_does_not_depend_on_the_order_of_the_reports(states: list[ReplicaState], rng: Random) -> None:
    reports = [replica(state=state, number=number) for number, state in enumerate(states)]
    shuffled = rng.sample(reports, len(reports))
    assert route(*reports) == route(*shuffled)


@given(st.integers(0, 6), st.sets(st.integers(0, 5)), st.integers(0, 1000))
def test_a_choice_is_ready_and_not_excluded(count: int, excluded: set[int], seed: int) -> None:
    ready = upstreams(count)
    out = {ready[number].id for number in excluded if number < count}
    chosen = choose(ready, lambda _: 0, Random(seed), out)
    assert (chosen is None) == (len(out) == count)
    assert chosen is None or (chosen in ready and chosen.id not in out)


def test_of_two_replicas_the_less_loaded_is_chosen() -> None:
    ready = upstreams(2)
    for seed in range(20):
        chosen = choose(ready, lambda each: each.number, Random(seed))
        assert chosen is ready[0]


def test_two_choices_spread_requests_almost_evenly() -> None:
    ready, loads, rng = upstreams(10), InFlight(), Random(1)
    contexts = []
    for _ in range(1000):
        chosen = choose(ready, loads.of, rng)
        assert chosen is not None
        context = loads.request(chosen.id)
        context.__enter__()
        contexts.append(context)
    assert max(loads.of(each.id) for each in ready) - min(loads.of(each.id) for each in ready) <= 10
    for context in contexts:
        context.__exit__(None, None, None)
    assert loads.total == 0


def test_a_name_means_the_deployment_that_can_answer() -> None:
    board = Board()
    board.publish(route(deployment="m:a"))
    board.publish(route(replica("m:b"), deployment="m:b"))
    assert board.find("m") == board.routes["m:b"], "it has a ready replica"
    assert board.find("m", "a") == board.routes["m:a"]
    assert board.find("m:a") == board.routes["m:a"]
    assert board.find("m", "c") is board.find("m:a", "b") is board.find("n") is None
    board.publish(route(deployment="m:b"))
    assert board.find("m") == board.routes["m:a"], "the first by id"
    board.publish(route(replica("m:a", ReplicaState.FAILED), deployment="m:a"))
    assert board.find("m") == board.routes["m:b"], "the other one has not failed"


def test_models_are_listed_by_names_that_lead_to_them() -> None:
    board = Board()
    for deployment in ("m:a", "m:b", "org/n:a", "n:a:b", "n:a"):
        board.publish(route(deployment=deployment))
    listed = board.listed()
    assert [name for name, _ in listed] == sorted(["m:a", "m:b", "org/n", "n:a:b", "n"])
    for name, found in listed:
        assert board.find(name) == found
    board.withdraw("m:b")
    assert "m" in [name for name, _ in board.listed()]


def test_what_is_not_served_has_no_name() -> None:
    unserved = make_route("other:vllm", None, [], patience=5)
    assert index_names([unserved, route()]) == {"smol": ("smol:llamacpp",)}


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30))
def test_counts_are_never_negative_and_end_at_nothing(steps: list[tuple[int, bool]]) -> None:
    counts, ready = InFlight(), upstreams(3)
    open_contexts: list[list[object]] = [[], [], []]
    idle: list[int] = []
    for number, begin in steps:
        if begin:
            context = counts.request(ready[number].id)
            context.__enter__()
            open_contexts[number].append(context)
        elif open_contexts[number]:
            open_contexts[number].pop().__exit__(None, None, None)  # type: ignore[attr-defined]
        assert [counts.of(each.id) for each in ready] == [len(each) for each in open_contexts]
        assert counts.total == sum(len(each) for each in open_contexts)
    for number in range(3):
        counts.when_idle(ready[number].id, lambda number=number: idle.append(number))  # type: ignore[misc]
    assert idle == [number for number in range(3) if not open_contexts[number]]
    for contexts in open_contexts:
        while contexts:
            contexts.pop().__exit__(None, None, None)  # type: ignore[attr-defined]
    assert sorted(idle) == [0, 1, 2]
    assert counts.total == 0


def test_an_error_takes_its_request_off_the_count() -> None:
    counts, (ready,) = InFlight(), upstreams(1)
    with pytest.raises(ZeroDivisionError), counts.request(ready.id):
        raise ZeroDivisionError
    assert counts.of(ready.id) == counts.total == 0
