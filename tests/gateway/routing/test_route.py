"""Which replica a request goes to, and which deployment a name means."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica, served

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.in_flight import InFlight
from sllm_actors.gateway.routing.route import Route, Upstream, choose, make_route

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


def test_only_replicas_of_the_uid_and_the_revisions_that_the_head_names_get_requests() -> None:
    model = served("smol", "llamacpp", uid="u1", revisions=(2, 3))
    reports = [
        replica(number=number, uid=uid, revision=revision, state=state)
        for number, (uid, revision, state) in enumerate(
            itertools.product(("u0", "u1"), (1, 2, 3, 4), ReplicaState)
        )
    ]
    made = make_route("smol:llamacpp", model, [("w", each) for each in reports], patience=5)
    assert {(each.id.uid, each.id.revision) for each in made.ready} == {("u1", 2), ("u1", 3)}
    assert {(each.id.uid, each.id.revision) for each in made.asleep} == {("u1", 2), ("u1", 3)}
    assert (len(made.ready), len(made.asleep)) == (2, 2)


def test_a_replica_that_leaves_is_given_back_whoever_it_belongs_to() -> None:
    for model in (None, served("smol", "llamacpp", uid="u1", revisions=(2,))):
        stranger = replica(uid="u0", state=ReplicaState.DRAINING, withdrawal=7)
        sleeper = replica(uid="u0", number=2, state=ReplicaState.ASLEEP)
        ready = replica(uid="u0", number=3)
        made = make_route(
            "smol:llamacpp", model, [("w", each) for each in (stranger, sleeper, ready)], patience=5
        )
        assert [(each.id, each.withdrawal) for each in made.leaving] == [(stranger.id, 7), (sleeper.id, 0)]
        assert made.ready == made.asleep == ()


def test_a_stranger_is_neither_a_failure_nor_worth_waiting_for() -> None:
    model = served("smol", "llamacpp", no_place="no worker has a free GPU", uid="u1")
    strangers = [
        ("w", replica(uid="u0", number=number, state=state)) for number, state in enumerate(ReplicaState)
    ]
    failure = make_route("smol:llamacpp", model, strangers, patience=5).failure
    assert failure is not None
    assert failure.reason == "no worker has a free GPU"


def test_one_replica_that_two_workers_report_has_two_places() -> None:
    reports = [("w2", replica(address="unix:/b")), ("w1", replica(address="unix:/a"))]
    made = make_route("smol:llamacpp", served(), reports, patience=5)
    assert [(each.node, each.address) for each in made.ready] == [("w1", "unix:/a"), ("w2", "unix:/b")]


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


def test_all_who_wait_for_a_replica_to_be_idle_are_called() -> None:
    counts, (ready,) = InFlight(), upstreams(1)
    called: list[int] = []
    with counts.request(ready.id):
        counts.when_idle(ready.id, lambda: called.append(1))
        counts.when_idle(ready.id, lambda: called.append(2))
        assert called == []
    assert called == [1, 2]
    with counts.request(ready.id):
        pass
    assert called == [1, 2], "once"


def test_an_error_takes_its_request_off_the_count() -> None:
    counts, (ready,) = InFlight(), upstreams(1)
    with pytest.raises(ZeroDivisionError), counts.request(ready.id):
        raise ZeroDivisionError
    assert counts.of(ready.id) == counts.total == 0
