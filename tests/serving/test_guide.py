"""Scripts written for the multi-machine guide, or for Pylet, find the fields that they know."""

from __future__ import annotations

import pytest

from sllm_actors.serving.decisions.reconcile import Worker
from sllm_actors.serving.describe import NodeView
from sllm_actors.serving.guide import guide_instances, guide_worker

from .kit import deployment, inventory, key, report, worker

VIEW = NodeView("worker-1", "worker", "10.0.0.1", "1.ab", up=True, since=3.0)
MIB = 2**20


def test_a_worker_has_the_fields_of_the_guide_and_of_pylet() -> None:
    told = inventory(
        4, name="big", host="big.lan", cpus=8, memory_total=100 * MIB, memory_free=60 * MIB, labels={"a": "b"}
    )
    assert guide_worker(VIEW, Worker("worker-1", told, {}), used_gpus=3) == {
        "id": "big",
        "gpu_units": 4,
        "status": "ready",
        "worker_id": "worker-1",
        "host": "big.lan",
        "total_resources": {"cpu_cores": 8, "gpu_units": 4, "memory_mb": 100},
        "available_resources": {"cpu_cores": 8, "gpu_units": 1, "memory_mb": 60},
        "last_seen": 3.0,
        "labels": {"a": "b"},
    }


@pytest.mark.parametrize(("name", "shown"), [("", "worker-1"), ("small", "small")])
def test_a_worker_that_is_down_and_has_not_reported_is_offline(name: str, shown: str) -> None:
    view = NodeView("worker-1", "worker", "10.0.0.1", "1.ab", up=False, since=3.0, name=name)
    shown_worker = guide_worker(view, None, used_gpus=2)
    assert (shown_worker["id"], shown_worker["status"], shown_worker["gpu_units"]) == (shown, "offline", 0)
    assert shown_worker["host"] == "10.0.0.1"
    assert shown_worker["available_resources"]["gpu_units"] == 0  # never less than none


def test_replicas_are_listed_by_deployment_with_the_names_that_both_use() -> None:
    known = {each.spec.id: each for each in (deployment("m"), deployment("a"))}
    running = worker("w1", report(key(0)))
    listed = guide_instances(known, {"w1": running}, {})
    assert [each["deployment"] for each in listed] == ["m:llamacpp"]
    (instance,) = listed
    assert instance["instance_id"] == instance["id"]
    assert instance["node"] == "w1"
