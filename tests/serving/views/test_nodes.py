"""What is shown of nodes, and of workers to scripts written for the multi-machine guide or for Pylet."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from tests.serving.picture.world import WALL, World

from sllm_actors.actors import Incarnation
from sllm_actors.engines.messages import ForkServerReport, ForkServerState
from sllm_actors.models.eviction import CachedModel
from sllm_actors.serving.messages import Gpu, UnreachedWorker
from sllm_actors.serving.picture.events import (
    GatewayCalled,
    GatewayCutOff,
    InventoryReported,
    NodeLost,
    NodeUp,
    RefusalsCounted,
)
from sllm_actors.serving.picture.fleet import LONGEST_KIND, LONGEST_NAME, MOST_REFUSALS, MOST_UNREACHED
from sllm_actors.serving.views.messages import DescribeCluster, DescribeNodes, DescribeWorker, DescribeWorkers

from .kit import ask

MIB = 2**20


def report(world: World, node: str, **inventory: Any) -> None:
    machine = world.machines[node]
    machine.inventory = evolve(machine.inventory, **inventory)
    world.send(InventoryReported(node, machine.inventory))


def test_a_worker_shows_its_machine() -> None:
    world = World()
    world.now = 3.0
    world.worker("worker-1", gpus=2)
    world.deploy("m", num_gpus=1)
    report(
        world,
        "worker-1",
        name="big",
        host="big.lan",
        memory_total=100,
        memory_free=60,
        labels={"zone": "a"},
        fork_servers=(ForkServerReport("vllm", ForkServerState.READY, memory=5, modules=7),),
        models=(CachedModel("hf:a/b@main", 5, 6.0),),
    )
    world.now = 9.0
    (shown,) = ask(world, DescribeNodes())["nodes"]
    assert shown == {
        "id": "worker-1",
        "name": "big",
        "role": "worker",
        "host": "big.lan",
        "state": "up",
        "reason": "",
        "draining": False,
        "incarnation": "2.0000000000000000",
        "gpus_total": 2,
        "gpus_free": 1,
        "gpus_stuck": 0,
        "cpus": 8,
        "memory_total": 100,
        "memory_free": 60,
        "labels": {"zone": "a"},
        "fork_servers": [{"backend": "vllm", "state": "ready", "memory": 5, "modules": 7, "reason": ""}],
        "models": [{"source": "hf:a/b@main", "size": 5, "last_used": 6.0}],
        "replicas": 1,
        "since": WALL + 3.0,
        "unreached_by": [],
        "refused": {},
    }


def test_a_gpu_that_an_engine_holds_which_cannot_be_killed_is_not_free() -> None:
    world = World()
    world.worker("w1")
    report(world, "w1", gpus=(Gpu("GPU-0", stuck=True), Gpu("GPU-1")))
    (shown,) = ask(world, DescribeNodes())["nodes"]
    assert (shown["gpus_total"], shown["gpus_free"], shown["gpus_stuck"]) == (2, 1, 1)


def test_a_gateway_has_no_machine_to_show() -> None:
    world = World()
    world.send(NodeUp("g", "gateway", "10.0.0.2", Incarnation(1, 2)))
    (shown,) = ask(world, DescribeNodes())["nodes"]
    assert (shown["name"], shown["host"], shown["incarnation"]) == ("g", "10.0.0.2", "1.0000000000000002")
    machine = ("gpus_total", "gpus_free", "gpus_stuck", "cpus", "memory_total", "memory_free")
    assert {shown[each] for each in machine} == {None}
    world.send(NodeLost("g", Incarnation(1, 2), "it ended"))
    (shown,) = ask(world, DescribeNodes())["nodes"]
    assert (shown["state"], shown["reason"]) == ("down", "it ended")


def test_a_worker_shows_which_gateways_do_not_reach_it_where_and_why() -> None:
    world = World()
    world.workers("ab")
    for gateway, name in (("g1", "gateway-0@rack-1"), ("g2", "")):
        world.send(NodeUp(gateway, "gateway", "10.0.0.2", Incarnation(1, 2)))
        world.send(GatewayCalled(gateway, name))

    def said(gateway: str, *workers: str, reason: str = "it refuses") -> dict[str, Any]:
        world.send(
            GatewayCutOff(gateway, tuple(UnreachedWorker(each, "10.0.0.9:8002", reason) for each in workers))
        )
        shown = ask(world, DescribeNodes(role="worker"))["nodes"]
        return {each["id"]: [by["gateway"] for by in each["unreached_by"]] for each in shown}

    assert said("g1", "a") == {"a": ["gateway-0@rack-1"], "b": []}
    assert said("g2", "a", "b", reason="x" * 900) == {"a": ["gateway-0@rack-1", "g2"], "b": ["g2"]}
    shown = ask(world, DescribeNodes(role="worker"))["nodes"]
    assert shown[1]["unreached_by"] == [{"gateway": "g2", "address": "10.0.0.9:8002", "reason": "x" * 500}]
    assert said("g1", "b") == {"a": ["g2"], "b": ["gateway-0@rack-1", "g2"]}
    assert said("g1") == {"a": ["g2"], "b": ["g2"]}
    world.send(NodeLost("g2", Incarnation(1, 2), "it ended"))
    assert said("g2", "a") == {"a": [], "b": []}, "one that is not linked says nothing"
    assert said("a", "b") == {"a": [], "b": []}, "and no worker does"
    many = [f"w{number}" for number in range(100)]
    said("g1", *many)
    assert len(world.picture.fleet.unreached["g1"]) == MOST_UNREACHED
    world.send(NodeUp("g1", "gateway", "10.0.0.2", Incarnation(2, 2)))
    assert not world.picture.fleet.unreached, "a later life of it has said nothing yet"


def test_nodes_and_the_head_show_how_many_they_have_refused_and_why() -> None:
    world = World()
    world.workers("a")

    def shown() -> tuple[dict[str, int], dict[str, int]]:
        answer = ask(world, DescribeNodes())
        return answer["nodes"][0]["refused"], answer["head"]["refused"]

    assert shown() == ({}, {})
    world.send(RefusalsCounted("a", {"secret": 2}))
    world.send(RefusalsCounted("", {"broken": 1}))
    world.send(RefusalsCounted("stranger", {"secret": 9}))
    assert shown() == ({"secret": 2}, {"broken": 1})
    assert ask(world, DescribeCluster())["head"] == {"state": "up", "refused": {"broken": 1}}
    many = {f"{number:03}{'x' * 99}": number for number in range(99)}
    world.send(RefusalsCounted("a", many))
    told = shown()[0]
    assert len(told) == MOST_REFUSALS
    assert {len(each) for each in told} == {LONGEST_KIND}
    world.send(NodeUp("a", "worker", "a.lan", Incarnation(9, 0)))
    assert shown() == ({}, {"broken": 1}), "a later life of it has said nothing yet"


def test_a_gateway_is_shown_where_it_says_that_it_is() -> None:
    world = World()
    world.send(NodeUp("g", "gateway", "10.0.0.2", Incarnation(1, 2)))
    world.send(GatewayCalled("g", "gateway-0", "gateway.example"))
    (shown,) = ask(world, DescribeNodes())["nodes"]
    assert shown["host"] == "gateway.example"


def test_a_gateway_has_the_name_that_it_says() -> None:
    world = World()
    world.send(NodeUp("g", "gateway", "10.0.0.2", Incarnation(1, 2)))
    world.worker("w1")
    for node, name in (("g", "gateway-0@rack-1"), ("w1", "another"), ("nobody", "x")):
        world.send(GatewayCalled(node, name))
    shown = {each["id"]: each["name"] for each in ask(world, DescribeNodes())["nodes"]}
    assert shown == {"g": "gateway-0@rack-1", "w1": "w1"}
    world.send(GatewayCalled("g", "x" * 500))
    assert ask(world, DescribeNodes())["nodes"][0]["name"] == "x" * LONGEST_NAME
    world.send(NodeLost("g", Incarnation(1, 2), "it ended"))
    assert any(each.startswith("xxx") for each in world.told("node.lost") + world.told("node.down"))


def test_a_node_is_suspect_before_it_is_down_and_says_why() -> None:
    world = World()
    world.worker("w1")
    world.unlink("w1")
    for seconds, state, status in ((1.0, "suspect", "suspect"), (20.0, "down", "offline")):
        world.wait(seconds)
        (node,) = ask(world, DescribeNodes())["nodes"]
        (worker,) = ask(world, DescribeWorkers())
        assert (node["state"], node["reason"], worker["status"]) == (state, "it is silent", status)
    assert node["since"] == WALL + 10.0


def test_a_node_that_is_not_back_since_the_head_started_says_so() -> None:
    world = World()
    world.worker("w1")
    world.begin_head()
    (shown,) = ask(world, DescribeNodes())["nodes"]
    assert (shown["state"], shown["name"], shown["incarnation"]) == ("down", "w1", "")
    assert shown["reason"] == "it has not been linked since the head started"


@pytest.mark.parametrize("draining", [True, False])
def test_a_worker_that_is_drained_is_shown_so(draining: bool) -> None:
    world = World()
    world.worker("w1")
    world.drain("w1", draining=draining)
    assert ask(world, DescribeNodes())["nodes"][0]["draining"] is draining
    assert ask(world, DescribeWorkers())[0]["draining"] is draining


def test_a_worker_has_the_fields_of_the_guide_and_of_pylet() -> None:
    world = World()
    world.worker("worker-1", gpus=4)
    world.deploy("m", num_gpus=3)
    report(
        world,
        "worker-1",
        name="big",
        host="big.lan",
        memory_total=100 * MIB,
        memory_free=60 * MIB,
        labels={"a": "b"},
    )
    expected = {
        "id": "big",
        "gpu_units": 4,
        "status": "ready",
        "worker_id": "worker-1",
        "host": "big.lan",
        "draining": False,
        "total_resources": {"cpu_cores": 8, "gpu_units": 4, "memory_mb": 100},
        "available_resources": {"cpu_cores": 8, "gpu_units": 1, "memory_mb": 60},
        "last_seen": WALL,
        "labels": {"a": "b"},
    }
    assert ask(world, DescribeWorkers()) == [expected]
    assert ask(world, DescribeWorker("worker-1")) == ask(world, DescribeWorker("big")) == expected


def test_a_worker_that_has_not_reported_has_nothing_yet() -> None:
    world = World()
    world.send(NodeUp("w1", "worker", "10.0.0.1", Incarnation(1, 1)))
    (shown,) = ask(world, DescribeWorkers())
    assert (shown["id"], shown["host"], shown["gpu_units"]) == ("w1", "10.0.0.1", 0)
    assert shown["available_resources"] == {"cpu_cores": 0, "gpu_units": 0, "memory_mb": 0}
