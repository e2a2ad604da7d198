"""Which replica a request goes to, and which deployment a name means."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica, served

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.gateway.routing.route import Route, make_route, share_of

STATES = st.sampled_from(list(ReplicaState))


def route(*reports: ReplicaReport, deployment: str = "smol:llamacpp") -> Route:
    model, _, backend = deployment.rpartition(":")
    return make_route(
        deployment, served(model, backend), [("worker-1", report) for report in reports], patience=5
    )


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


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([], "pending"),
        ([ReplicaState.DRAINING, ReplicaState.STOPPED], "pending"),
        ([ReplicaState.FAILED], "failed"),
        ([ReplicaState.FAILED, ReplicaState.PENDING], "starting"),
        ([ReplicaState.STARTING, ReplicaState.ASLEEP], "asleep"),
        (list(ReplicaState), "ready"),
    ],
)
def test_a_deployment_is_as_its_best_replica(states: list[ReplicaState], status: str) -> None:
    assert route(*(replica(number=at, state=state) for at, state in enumerate(states))).status == status


def test_a_deployment_of_which_nothing_is_to_run_is_idle_until_a_replica_comes() -> None:
    model = served(idle=True)
    assert make_route(served().id, model, (), patience=5).status == "idle"
    coming = ("worker-1", replica(state=ReplicaState.PENDING))
    assert make_route(served().id, model, (coming,), patience=5).status == "starting"
    assert make_route(served().id, served(idle=True, no_place="no room"), (), patience=5).status == "failed"


def test_a_context_is_as_long_as_the_shortest_of_those_that_serve() -> None:
    lengths = {ReplicaState.READY: 4096, ReplicaState.ASLEEP: 2048, ReplicaState.FAILED: 7}
    made = [replica(state=state, number=size, context_length=size) for state, size in lengths.items()]
    assert route(*made).context_length == 2048
    assert route(*made, replica(number=1)).context_length == route().context_length == 0


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


def test_replicas_that_are_coming_are_those_that_start_and_may_get_requests() -> None:
    model = served("smol", "llamacpp", revisions=(2,))
    reports = [
        replica(number=1, revision=1, state=ReplicaState.STARTING),
        replica(number=2, revision=2, state=ReplicaState.STARTING),
        replica(number=3, revision=2, state=ReplicaState.PENDING),
        replica(number=4, revision=2),
    ]
    made = make_route("smol:llamacpp", model, [("w", each) for each in reports], patience=5)
    assert made.coming == (("w", reports[1].id), ("w", reports[2].id))


@pytest.mark.parametrize(
    ("reported", "declared", "gateways", "share"),
    [
        (0, None, 1, None),
        (0, None, 3, None),
        (4, None, 1, 4),
        (4, None, 0, 4),
        (4, None, 3, 2),
        (4, None, 9, 1),
        (4, 9, 2, 5),
        (0, 1, 2, 1),
    ],
)
def test_gateways_share_what_a_replica_runs_at_a_time(
    reported: int, declared: int | None, gateways: int, share: int | None
) -> None:
    (upstream,) = route(replica(concurrency=reported)).ready
    assert share_of(served(max_concurrency=declared, gateways=gateways), upstream) == share


def test_without_a_head_that_says_so_a_replica_is_not_shared() -> None:
    (upstream,) = route(replica(concurrency=4)).ready
    assert share_of(None, upstream) == 4
