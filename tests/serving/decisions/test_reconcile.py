"""The rules by which the head decides what runs where, one example each."""

from __future__ import annotations

from typing import Any

import pytest
from tests.serving.kit import deployment, key, ordered, plan, report, worker

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.decisions.reconcile import Worker, running, used_gpus
from sllm_actors.serving.messages import Gpu, Inventory

EXTERNAL: dict[str, Any] = {"backend": "external", "endpoints": ("http://a", "http://b", "http://c")}


def external(number: int) -> ReplicaKey:
    return key(number, backend="external")


# ---- placing


def test_what_is_missing_is_placed_and_its_number_is_given_out() -> None:
    made = plan([deployment(replicas=2)], [worker("w1"), worker("w2")])
    assert made.placements == {key(0): "w1", key(1): "w2"}
    assert ordered(made) == {"w1": [key(0)], "w2": [key(1)]}
    assert made.next_numbers == {"m:llamacpp": 2}
    assert made.gone == ()


def test_an_order_says_everything_that_the_worker_needs() -> None:
    wanted = deployment(gpus=1, source="/m.gguf", settings={"n_ctx": 1}, startup_timeout=5, drain_timeout=6)
    (order,) = plan([wanted], [worker("w1", gpus=1)]).orders["w1"]
    assert (order.key, order.model, order.backend) == (key(0), "m", "llamacpp")
    assert (order.source, order.settings, order.num_gpus) == ("/m.gguf", {"n_ctx": 1}, 1)
    assert (order.startup_timeout, order.drain_timeout) == (5, 6)


def test_a_number_is_never_given_out_again() -> None:
    assert plan([deployment(next_number=7)], [worker("w1")]).placements == {key(7): "w1"}


def test_without_a_worker_nothing_is_placed() -> None:
    made = plan([deployment()], [])
    assert (made.placements, made.orders, made.next_numbers) == ({}, {}, {})
    assert made.unplaced == ("m:llamacpp",)


@pytest.mark.parametrize("unfit", [{"w1": "it has no such file"}, {}])
def test_a_worker_that_refuses_or_was_not_asked_gets_nothing(unfit: dict[str, str]) -> None:
    made = plan([deployment(unfit=unfit)], [worker("w1")])
    assert ordered(made) == {"w1": []}


def test_a_worker_without_free_gpus_gets_nothing() -> None:
    made = plan([deployment("a", gpus=1), deployment("b", gpus=2)], [worker("w1", gpus=2)])
    assert ordered(made) == {"w1": [key(0, "a")]}
    assert made.unplaced == ("b:llamacpp",)


def test_a_gpu_that_an_engine_holds_which_cannot_be_killed_is_not_counted_on() -> None:
    two = Worker("w1", Inventory(gpus=(Gpu("GPU-0", stuck=True), Gpu("GPU-1"))), {})
    made = plan([deployment("a", gpus=1), deployment("b", gpus=1)], [two])
    assert ordered(made) == {"w1": [key(0, "a")]}
    one = Worker("w1", Inventory(gpus=(Gpu("GPU-0", stuck=True),)), {})
    assert ordered(plan([deployment("a", backend="vllm", num_gpus=None)], [one])) == {"w1": []}


def test_vllm_is_ordered_without_gpus_where_there_are_none() -> None:
    made = plan([deployment("a", backend="vllm", num_gpus=None)], [worker("w1")])
    assert [order.num_gpus for order in made.orders["w1"]] == [0]
    made = plan([deployment("a", backend="vllm", num_gpus=None)], [worker("w1", gpus=2)])
    assert [order.num_gpus for order in made.orders["w1"]] == [1]


def test_a_replica_of_another_deployment_holds_its_gpus_until_its_last_process_has_ended() -> None:
    leaving = deployment("a", gpus=1, deleting=True)
    wanted = deployment("b", gpus=1)
    draining = report(key(0, "a"), ReplicaState.DRAINING)
    assert ordered(plan([leaving, wanted], [worker("w1", draining, gpus=1)])) == {"w1": []}
    stopped = report(key(0, "a"), ReplicaState.STOPPED)
    assert ordered(plan([leaving, wanted], [worker("w1", stopped, gpus=1)])) == {"w1": [key(0, "b")]}


def test_a_replica_that_two_workers_report_holds_gpus_at_both() -> None:
    twice = deployment("a", gpus=1, next_number=1)
    w1, w2 = (worker(node, report(key(0, "a")), gpus=1) for node in ("w1", "w2"))
    made = plan([twice, deployment("b", gpus=1)], [w1, w2])
    assert ordered(made) == {"w1": [key(0, "a")], "w2": []}


def test_a_worker_with_fewer_gpus_than_it_uses_still_gets_what_needs_none() -> None:
    busy = deployment("a", gpus=2, next_number=1)
    made = plan([busy, deployment("b")], [worker("w1", report(key(0, "a")), gpus=1)])
    assert ordered(made) == {"w1": [key(0, "a"), key(0, "b")]}


def test_a_surplus_makes_room_in_the_same_plan() -> None:
    # w1 is back with the replica that w2 had been ordered to replace.
    back = deployment("b", gpus=1, next_number=2)
    waiting = deployment("a", gpus=1)
    workers = [worker("w1", report(key(0, "b")), gpus=1), worker("w2", gpus=1)]
    made = plan([back, waiting], workers, {key(1, "b"): "w2"})
    assert ordered(made) == {"w1": [key(0, "b")], "w2": [key(0, "a")]}


# ---- adopting, giving up


@pytest.mark.parametrize(
    "state",
    [
        ReplicaState.PENDING,
        ReplicaState.STARTING,
        ReplicaState.READY,
        ReplicaState.ASLEEP,
        ReplicaState.FAILED,
    ],
)
def test_what_runs_is_adopted_wherever_it_is_found(state: ReplicaState) -> None:
    made = plan([deployment(next_number=5)], [worker("w1"), worker("w2", report(key(3), state))])
    assert made.placements == {key(3): "w2"}
    assert made.next_numbers == {}


@pytest.mark.parametrize("state", [ReplicaState.DRAINING, ReplicaState.STOPPED])
def test_what_is_on_its_way_out_is_not_adopted(state: ReplicaState) -> None:
    made = plan([deployment(next_number=1)], [worker("w1", report(key(0), state))])
    assert made.placements == {key(1): "w1"}


def test_what_is_wanted_again_while_it_ends_keeps_its_place() -> None:
    draining = worker("w1", report(key(0), ReplicaState.DRAINING))
    assert plan([deployment(next_number=1)], [draining], {key(0): "w1"}).placements == {key(0): "w1"}


def test_another_revision_and_an_unknown_deployment_are_not_adopted() -> None:
    strangers = worker("w1", report(key(0, revision=1)), report(key(0, "unknown")))
    made = plan([deployment(revision=2)], [strangers])
    assert ordered(made) == {"w1": [key(0, revision=2)]}


def test_a_place_on_a_lost_worker_is_given_up() -> None:
    made = plan([deployment(next_number=1)], [worker("w2")], {key(0): "w1"})
    assert made.placements == {key(1): "w2"}


def test_a_place_that_was_ordered_and_not_reported_is_kept() -> None:
    made = plan([deployment(next_number=1)], [worker("w1"), worker("w2")], {key(0): "w2"})
    assert made.placements == {key(0): "w2"}
    assert made.next_numbers == {}


# ---- too much


def test_of_too_many_the_one_furthest_from_serving_goes() -> None:
    states = [
        ReplicaState.FAILED,
        ReplicaState.PENDING,
        ReplicaState.STARTING,
        ReplicaState.ASLEEP,
        ReplicaState.READY,
    ]
    reports = [report(key(number), state) for number, state in enumerate(states)]
    for wanted in range(1, len(states) + 1):
        made = plan([deployment(replicas=wanted, next_number=5)], [worker("w1", *reports)])
        assert {each.number for each in made.placements} == set(range(5 - wanted, 5))


def test_of_equal_ones_the_youngest_goes() -> None:
    made = plan([deployment(next_number=3)], [worker("w1", report(key(2))), worker("w2", report(key(1)))])
    assert ordered(made) == {"w1": [], "w2": [key(1)]}


def test_what_comes_back_does_not_displace_what_took_its_place() -> None:
    returned, current = worker("w1", report(key(0))), worker("w2", report(key(1)))
    made = plan([deployment(next_number=2)], [returned, current], {key(1): "w2"})
    assert ordered(made) == {"w1": [], "w2": [key(1)]}


def test_what_was_not_started_yet_goes_before_what_starts() -> None:
    starting = worker("w1", report(key(5), ReplicaState.STARTING))
    made = plan([deployment(next_number=6)], [starting, worker("w2")], {key(1): "w2"})
    assert made.placements == {key(5): "w1"}


# ---- endpoints


def test_each_endpoint_has_its_own_replica() -> None:
    made = plan([deployment(**EXTERNAL)], [worker("w1")])
    assert [order.source for order in made.orders["w1"]] == ["http://a", "http://b", "http://c"]


def test_a_lost_endpoint_gets_the_next_number_of_its_turn() -> None:
    here = worker("w1", report(external(0)), report(external(2)))
    made = plan([deployment(**EXTERNAL, next_number=3)], [here])
    assert sorted(made.placements) == [external(0), external(2), external(4)]
    assert [order.source for order in made.orders["w1"]] == ["http://a", "http://c", "http://b"]


def test_a_second_replica_of_one_endpoint_goes_although_the_count_is_right() -> None:
    here = worker("w1", *(report(external(number)) for number in (0, 3, 1)))
    made = plan([deployment(**EXTERNAL, next_number=4)], [here])
    assert sorted(made.placements) == [external(0), external(1), external(5)]


# ---- deleting


def test_a_deployment_that_is_deleted_is_ordered_nowhere() -> None:
    made = plan([deployment(deleting=True, next_number=1)], [worker("w1", report(key(0)))], {key(0): "w1"})
    assert (made.placements, made.orders, made.gone) == ({}, {"w1": ()}, ())


@pytest.mark.parametrize("state", [None, ReplicaState.STOPPED])
def test_it_is_gone_when_nothing_of_it_runs(state: ReplicaState | None) -> None:
    left = [] if state is None else [report(key(0), state)]
    other = report(key(0, "other"))
    made = plan([deployment(deleting=True), deployment("other")], [worker("w1", other, *left)])
    assert made.gone == ("m:llamacpp",)


# ---- counting


def test_running_lists_whatever_may_have_a_process() -> None:
    w1 = worker("w1", report(key(1), ReplicaState.STOPPED), report(key(0), ReplicaState.DRAINING))
    w2 = worker("w2", report(key(2)), report(key(0, "other")))
    assert [(node, each.id.number) for node, each in running("m:llamacpp", {"w2": w2, "w1": w1})] == [
        ("w1", 0),
        ("w2", 2),
    ]


def test_gpus_are_counted_once_whether_ordered_or_reported_or_both() -> None:
    known = {"m:llamacpp": deployment(gpus=2)}
    there = {"w1": worker("w1", report(key(0)), report(key(1)), report(key(0, "unknown")), gpus=8)}
    assert used_gpus("w1", known, there, {key(0): "w1", key(2): "w1", key(3): "w2"}) == 6
    assert used_gpus("w3", known, there, {key(0): "w1"}) == 0
