"""What is said of a deployment in a list of many."""

from __future__ import annotations

from typing import Any

import pytest

from sllm_actors.cli.answers.deployments import DeploymentDocument, InstanceDocument, RolloutDocument
from sllm_actors.cli.answers.status import GpuTotals, TotalsDocument
from sllm_actors.cli.display.summary import in_total, notes, places

NOW = 1000.0


def instance(number: int, state: str, **more: Any) -> InstanceDocument:
    return InstanceDocument(f"a:vllm@1.{number}.1", state=state, **more)


def deployment(*instances: InstanceDocument, state: str = "ready", **more: Any) -> DeploymentDocument:
    return DeploymentDocument("a:vllm", state=state, instances=list(instances), **more)


def test_the_workers_that_serve_are_named_first_and_many_are_counted() -> None:
    assert places(deployment()) == ""
    assert places(deployment(instance(0, "pending"))) == ""
    shown = deployment(
        instance(0, "starting", node="n3", node_name="w3"),
        instance(1, "ready", node="n1", node_name="w1"),
        instance(2, "asleep", node="n1", node_name="w1"),
        instance(3, "ready", node="n2"),
    )
    assert places(shown) == "w1 (2), n2, w3"
    many = [instance(number, "ready", node=f"w{number}") for number in range(9)]
    assert places(deployment(*many)) == "w0, w1, w2 and 6 more"


def test_nothing_is_said_of_what_is_as_it_should_be() -> None:
    assert list(notes(deployment(instance(0, "ready")), NOW)) == []


def test_the_detail_stands_for_all_instances_of_what_does_not_serve() -> None:
    starting = instance(0, "starting", progress="loading")
    assert list(notes(deployment(starting, state="starting", detail="loading"), NOW)) == ["loading"]


def test_of_what_serves_the_instances_that_do_not_are_told_with_their_ages() -> None:
    shown = deployment(
        instance(0, "ready"),
        instance(1, "starting", node="n1", node_name="big", since=NOW - 12, progress="loading: 40 %"),
        instance(2, "failed", node="n2", since=NOW - 300, reason="out of memory"),
        instance(3, "pending"),
        detail="not all of its replicas have a place",
    )
    assert list(notes(shown, NOW)) == [
        "not all of its replicas have a place",
        "starting on big for 12s: loading: 40 %",
        "failed on n2 for 5m: out of memory",
        "pending",
    ]
    many = deployment(*(instance(number, "starting") for number in range(5)))
    assert list(notes(many, NOW)) == ["starting"] * 3 + ["and 2 more instances that do not serve"]


@pytest.mark.parametrize(
    ("state", "reason", "sentence"),
    [
        ("progressing", "", "revision 2 is being rolled out, 1 of 3 ready"),
        ("progressing", "loading", "revision 2 is being rolled out, 1 of 3 ready: loading"),
        ("paused", "no room", "revision 2 is paused: no room"),
        ("rolled_back", "it failed", "revision 2 was rolled back: it failed"),
    ],
)
def test_a_rollout_is_told_once(state: str, reason: str, sentence: str) -> None:
    rollout = RolloutDocument(2, state, reason, ready=1, wanted=3)
    new = instance(0, "starting", revision=2, progress="loading")
    old = instance(1, "draining", revision=1, reason="revision 2 takes its place")
    assert list(notes(deployment(new, old, rollout=rollout), NOW)) == [
        sentence,
        "draining: revision 2 takes its place",
    ]


def test_the_whole_cluster_is_one_line() -> None:
    assert in_total(TotalsDocument()) == "0 deployments, 0 replicas; nodes: none"
    states = {"ready": 1, "failed": 0}
    totals = TotalsDocument(1, states, 1, {"up": 3, "suspect": 1, "down": 0}, GpuTotals(8, 5))
    line = "1 deployment (1 ready), 1 replica; nodes: 3 up, 1 suspect; 5 of 8 GPUs free"
    assert in_total(totals) == line


def test_a_large_cluster_is_two_lines() -> None:
    states = {"ready": 9980, "starting": 15, "crash_loop": 5}
    totals = TotalsDocument(10_000, states, 30_000, {"up": 1000}, GpuTotals(8000, 5))
    assert in_total(totals).splitlines() == [
        "10000 deployments (9980 ready, 15 starting, 5 crash_loop)",
        "30000 replicas; nodes: 1000 up; 5 of 8000 GPUs free",
    ]
