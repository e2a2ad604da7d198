"""What a person or a script is shown of the cluster."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ForkServerReport, ForkServerState, ReplicaState
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.decisions.reconcile import Deployment, PlacementWait, Worker
from sllm_actors.serving.deployment.document import write_document
from sllm_actors.serving.describe import NodeView, describe_cluster, describe_deployment, describe_node
from sllm_actors.serving.messages import Gpu, Inventory

from .kit import deployment, inventory, key, report, worker


def describe(
    described: Deployment, *workers: Worker, placements: dict[ReplicaKey, str] | None = None
) -> dict[str, Any]:
    return describe_deployment(described, {each.node: each for each in workers}, placements or {})


def state(
    described: Deployment, *workers: Worker, placements: dict[ReplicaKey, str] | None = None
) -> tuple[str, str]:
    document = describe(described, *workers, placements=placements)
    return document["state"], document["detail"]


def test_a_deployment_shows_what_it_is_and_what_runs() -> None:
    known = deployment(replicas=2)
    ready = report(key(0), address="unix:/x", pid=7, since=2.0, starts=3)
    first = evolve(worker("w1", ready), inventory=inventory(name="big"))
    document = describe(known, first, placements={key(0): "w1", key(1): "w2"})
    instances = document.pop("instances")
    assert document == {
        "id": "m:llamacpp",
        "model": "m",
        "backend": "llamacpp",
        "revision": 1,
        "status": "active",
        "state": "ready",
        "detail": "",
        "ready_replicas": 1,
        "desired_replicas": 2,
        "created": 0.0,
        "spec": write_document(known.spec),
    }
    assert instances[0] == {
        "id": "m:llamacpp@1.0.3",
        "node": "w1",
        "node_name": "big",
        "state": "ready",
        "failures": 0,
        "progress": "",
        "reason": "",
        "exit_status": "",
        "log_tail": [],
        "address": "unix:/x",
        "endpoint": None,
        "pid": 7,
        "since": 2.0,
        "retry_in": None,
    }
    assert (instances[1]["id"], instances[1]["node"]) == ("m:llamacpp@1.1.0", "w2")
    assert instances[1]["node_name"] == "w2"  # which has not said what it is called
    assert (instances[1]["state"], instances[1]["progress"]) == ("pending", "ordered from its worker")


def test_an_external_server_is_shown_by_its_address_without_its_password() -> None:
    known = deployment(backend="external", replicas=1, endpoints=("http://a:1/v1",))
    place = key(0, backend="external")
    failed = report(place, ReplicaState.FAILED, reason="refused", address="http://me:secret@a:1/v1")
    for workers in ((worker("w1", failed),), (worker("w1"),)):
        (shown,) = describe(known, *workers, placements={place: "w1"})["instances"]
        assert shown["endpoint"] == "http://a:1"
        assert "secret" not in str(shown)


def test_headers_that_carry_a_credential_are_shown_by_their_names_only() -> None:
    names = ("Authorization", "X-Api-Key", "api-key", "Cookie", "X-Auth-Token")
    settings = {"headers": {**dict.fromkeys(names, "hunter2"), "X-Team": "blue"}}
    known = deployment(backend="external", endpoints=("http://a:1",), settings=settings)
    shown = describe(known)["spec"]["backend_config"]["headers"]
    assert shown == {**dict.fromkeys(names, "***"), "X-Team": "blue"}
    assert describe(deployment(settings={"headers": "odd"}))["spec"]["backend_config"] == {"headers": "odd"}


def test_the_best_replica_speaks_for_the_deployment() -> None:
    known = deployment(replicas=4)
    starting = report(key(0), ReplicaState.STARTING, progress="loading")
    failed = report(key(1), ReplicaState.FAILED, reason="out of memory")
    asleep = report(key(2), ReplicaState.ASLEEP)
    assert state(known, worker("w1", starting, failed, asleep, report(key(3)))) == ("ready", "")
    assert state(known, worker("w1", starting, failed, asleep)) == ("asleep", "")
    assert state(known, worker("w1", starting, failed)) == ("starting", "loading")
    assert state(known, worker("w1", failed)) == ("failed", "out of memory")


def test_an_engine_that_fails_over_and_over_is_shown_as_a_crash_loop() -> None:
    again = report(key(0), ReplicaState.STARTING, reason="killed by SIGSEGV", failures=3)
    assert state(deployment(), worker("w1", again)) == (
        "crash_loop",
        "it failed 3 times in a row: killed by SIGSEGV",
    )
    once = report(key(1), ReplicaState.STARTING, progress="loading", failures=2)
    assert state(deployment(), worker("w1", once)) == ("starting", "loading")
    described = describe(deployment(), worker("w1", again, once))["instances"]
    assert [(each["state"], each["failures"]) for each in described] == [
        ("crash_loop", 3),
        ("starting", 2),
    ]


def test_what_a_replica_waits_for_is_shown() -> None:
    waits = report(key(0), ReplicaState.PENDING, progress="it waits for 1 GPU")
    assert state(deployment(), worker("w1", waits)) == ("pending", "it waits for 1 GPU")


def test_a_deployment_that_was_ordered_is_pending() -> None:
    asked = ("pending", "a worker has been asked to start it")
    assert state(deployment(), worker("w1"), placements={key(0): "w1"}) == asked
    assert state(deployment(), worker("w1", report(key(0), ReplicaState.PENDING))) == asked


def test_a_deployment_that_is_placed_nowhere_says_why_and_when_it_is_too_late() -> None:
    assert state(deployment(), worker("w1")) == ("pending", "a worker is being chosen")
    waits = deployment(gpus=1, startup_timeout=60, wait=PlacementWait(0.0, "no worker has 1 free GPU for it"))
    draining = worker("w1", report(key(0), ReplicaState.DRAINING))  # none that was asked for
    for workers in ((), (draining,)):
        assert state(waits, *workers) == ("pending", "no worker has 1 free GPU for it")
    assert state(evolve(waits, wait=PlacementWait(0.0, "no worker is connected", overdue=True))) == (
        "failed",
        "it found no place within 60 s: no worker is connected; it starts as soon as there is one",
    )


def test_a_deployment_that_serves_tells_that_not_all_of_it_does() -> None:
    looping = report(key(1), ReplicaState.FAILED, reason="out of memory", failures=4)
    ready = report(key(0), failures=7)  # it has stopped failing
    assert state(deployment(replicas=2), worker("w1", ready, looping)) == (
        "ready",
        "1 of its replicas fails over and over (4 times in a row): out of memory",
    )
    waits = deployment(replicas=2, wait=PlacementWait(0.0, "w1 has no GPU"))
    assert state(waits, worker("w1", ready)) == (
        "ready",
        "not all of its replicas have a place: w1 has no GPU",
    )


def test_a_deletion_shows_what_is_left() -> None:
    going = deployment(deleting=True)
    document = describe(going, worker("w1", report(key(0), ReplicaState.DRAINING)))
    assert (document["status"], document["state"], document["desired_replicas"]) == (
        "deleting",
        "deleting",
        0,
    )
    assert document["detail"] == "1 of its replicas are still ending"
    assert state(going) == ("deleting", "")


def test_a_worker_shows_its_machine() -> None:
    view = NodeView("worker-1", "worker", "10.0.0.1", "1.ab", up=True, since=3.0)
    servers = (ForkServerReport("vllm", ForkServerState.READY, memory=5, modules=7),)
    models = (CachedModel("hf:a/b@main", 5, 6.0),)
    stock = inventory(
        2,
        name="big",
        host="big.lan",
        cpus=8,
        memory_total=100,
        memory_free=60,
        fork_servers=servers,
        models=models,
    )
    document = describe_node(view, Worker("worker-1", stock, {key(0): report(key(0))}), used_gpus=1)
    assert document == {
        "id": "worker-1",
        "name": "big",
        "role": "worker",
        "host": "big.lan",
        "state": "up",
        "reason": "",
        "incarnation": "1.ab",
        "gpus_total": 2,
        "gpus_free": 1,
        "gpus_stuck": 0,
        "cpus": 8,
        "memory_total": 100,
        "memory_free": 60,
        "labels": {},
        "fork_servers": [{"backend": "vllm", "state": "ready", "memory": 5, "modules": 7, "reason": ""}],
        "models": [{"source": "hf:a/b@main", "size": 5, "last_used": 6.0}],
        "replicas": 1,
        "since": 3.0,
    }
    assert describe_node(view, worker("worker-1", gpus=1), used_gpus=4)["gpus_free"] == 0


def test_a_gpu_that_an_engine_holds_which_cannot_be_killed_is_not_free() -> None:
    view = NodeView("w1", "worker", "10.0.0.1", "1.ab", up=True, since=3.0)
    stuck = Worker("w1", Inventory(gpus=(Gpu("GPU-0", stuck=True), Gpu("GPU-1"))), {})
    document = describe_node(view, stuck, used_gpus=0)
    assert (document["gpus_total"], document["gpus_free"], document["gpus_stuck"]) == (2, 1, 1)


@pytest.mark.parametrize(("name", "shown"), [("", "worker-1"), ("big", "big")])
def test_a_lost_node_keeps_its_name(name: str, shown: str) -> None:
    view = NodeView("worker-1", "worker", "10.0.0.1", "1.ab", up=False, since=3.0, reason="silent", name=name)
    document = describe_node(view, None, used_gpus=0)
    assert (document["name"], document["state"], document["reason"]) == (shown, "down", "silent")
    assert (document["host"], document["gpus_total"], document["replicas"]) == ("10.0.0.1", 0, 0)


def test_the_cluster_is_all_deployments_without_their_settings_and_all_nodes() -> None:
    view = NodeView("w1", "worker", "", "1.ab", up=True, since=3.0)
    known = {each.spec.id: each for each in (deployment("b", gpus=1), deployment("a"))}
    w1 = worker("w1", report(key(0, "b")), gpus=2)
    document = describe_cluster(known, [view], {"w1": w1}, {})
    assert [each["id"] for each in document["deployments"]] == ["a:llamacpp", "b:llamacpp"]
    assert all("spec" not in each for each in document["deployments"])
    assert [(each["id"], each["gpus_free"]) for each in document["nodes"]] == [("w1", 1)]
    assert document["head"] == {"state": "up"}


def test_what_looks_like_a_secret_is_shown_nowhere() -> None:
    secret = "hunter2"
    known = deployment()
    spec = evolve(
        known.spec,
        settings={"hf_token": secret, "extra_args": ["--api-key", secret, "--seed=1"], "n_ctx": 5},
        env={"MY_TOKEN": secret, "MODE": "fast"},
        secret_env={"HF_TOKEN": "env:TOKEN_OF_THE_WORKER"},
    )
    known = evolve(known, spec=spec)
    ready = report(key(0))
    shown = describe(known, worker("w1", ready))
    assert secret not in str(shown)
    assert shown["spec"]["backend_config"]["n_ctx"] == 5
    assert shown["spec"]["backend_config"]["extra_args"][-1] == "--seed=1"
    assert shown["spec"]["env"]["MODE"] == "fast"
    assert shown["spec"]["secret_env"] == {"HF_TOKEN": "env:TOKEN_OF_THE_WORKER"}
