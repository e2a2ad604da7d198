"""Lists in pages: complete, in order, filtered, and looking only at what they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from attrs import evolve
from tests.serving.picture.world import World

from sllm_actors.actors import Incarnation
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import RefusalKind
from sllm_actors.serving.picture.deployment_state import DeploymentState
from sllm_actors.serving.picture.events import NodeUp
from sllm_actors.serving.views import lists
from sllm_actors.serving.views import pages as pages_module
from sllm_actors.serving.views.cursors import CursorKind, write_cursor
from sllm_actors.serving.views.messages import (
    MAX_LIMIT,
    DescribeCluster,
    DescribeDeployment,
    DescribeDeployments,
    DescribeInstance,
    DescribeInstances,
    DescribeNodes,
    DescribeWorker,
    DescribeWorkers,
    ListQuestion,
)

from .kit import ask, only_key, pages, refused


@pytest.fixture
def world() -> World:
    """Five workers and a gateway; ten deployments of two replicas each."""
    world = World()
    for number in range(5):
        world.worker(f"w{number}")
    world.send(NodeUp("g", "gateway", "10.0.0.1", Incarnation(1, 1)))
    for number in range(10):
        world.deploy(f"m{number}", auto_scaling_config={"min_instances": 2, "max_instances": 2})
    world.ready()
    return world


def ids(entries: list[Any]) -> list[str]:
    return [each["id"] for each in entries]


@pytest.mark.parametrize("limit", [1, 3, 4, 10, 16, 17, MAX_LIMIT])
def test_all_pages_together_show_each_entry_once_and_in_order(world: World, limit: int) -> None:
    found = pages(world, DescribeCluster(limit=limit))
    assert all(len(each["deployments"]) + len(each["nodes"]) <= limit for each in found)
    assert len(found) == -(-16 // limit)
    deployments = [name for each in found for name in ids(each["deployments"])]
    assert deployments == [f"m{number}:command" for number in range(10)]
    assert [name for each in found for name in ids(each["nodes"])] == ["g", "w0", "w1", "w2", "w3", "w4"]
    assert [each["next"] for each in found][-1] is None
    assert {each["head"]["state"] for each in found} == {"up"}
    listed = pages(world, DescribeDeployments(limit=limit))
    assert [name for each in listed for name in ids(each["deployments"])] == deployments
    assert all("nodes" not in each for each in listed)


@pytest.mark.parametrize("limit", [1, 3, 20])
def test_replicas_are_listed_by_deployment_then_by_number(world: World, limit: int) -> None:
    found = [each for page in pages(world, DescribeInstances(limit=limit)) for each in page]
    replicas = [each for known in world.picture.catalogue.after("") for each in sorted(known.replicas)]
    assert ids(found) == [f"{key}.0" for key in replicas]
    assert [each["deployment"] for each in found] == [key.deployment for key in replicas]
    assert all(each["instance_id"] == each["id"] for each in found)
    on_one = [each for page in pages(world, DescribeInstances(limit=limit, node="w1")) for each in page]
    assert ids(on_one) == [each["id"] for each in found if each["node"] == "w1"]
    of_one = [
        each
        for page in pages(world, DescribeInstances(limit=limit, deployment="m3:command"))
        for each in page
    ]
    assert ids(of_one) == [each["id"] for each in found if each["deployment"] == "m3:command"]


def test_workers_are_listed_without_gateways(world: World) -> None:
    found = pages(world, DescribeWorkers(limit=2))
    assert [each["worker_id"] for page in found for each in page] == ["w0", "w1", "w2", "w3", "w4"]


@pytest.mark.parametrize(
    "question",
    [
        DescribeDeployments(limit=3),
        DescribeCluster(limit=3),
        DescribeInstances(limit=3),
        DescribeNodes(limit=3),
    ],
)
def test_a_list_goes_on_behind_an_entry_that_is_gone(world: World, question: ListQuestion) -> None:
    cursors = {
        DescribeNodes: write_cursor(CursorKind.NODE, "w1x"),
        DescribeInstances: write_cursor(CursorKind.INSTANCE, "m4x:command", "1", "3", "uid"),
    }
    default = write_cursor(CursorKind.DEPLOYMENT, "m4x:command")
    document = ask(world, evolve(question, cursor=cursors.get(type(question), default)))
    shown = document if isinstance(document, list) else document.get("deployments", document.get("nodes"))
    assert ids(shown)[0].startswith(("m5:command", "w2"))


# ---- filters


def test_deployments_can_be_filtered(world: World) -> None:
    world.say("w0", only_key_on(world, "w0", "m0:command"), ReplicaState.STARTING)
    world.say("w1", only_key_on(world, "w1", "m0:command"), ReplicaState.STARTING)
    world.deploy("m1", backend="external", endpoints=["http://a:1"], backend_config={})
    world.deploy("m1:x")
    for question, names in (
        (DescribeDeployments(state="starting"), ["m0:command", "m1:external", "m1:x:command"]),
        (DescribeDeployments(model="m1"), ["m1:command", "m1:external"]),
        (DescribeDeployments(model="m1", backend="external"), ["m1:external"]),
        (DescribeDeployments(backend="external"), ["m1:external"]),
        (DescribeDeployments(model="m9"), ["m9:command"]),
        (DescribeDeployments(model="none"), []),
        (DescribeDeployments(state="ready", model="m2"), ["m2:command"]),
        (DescribeDeployments(state="deleting"), []),
    ):
        assert ids(ask(world, question)["deployments"]) == names
        document = ask(world, DescribeCluster(**attrs.asdict(question)))
        assert (ids(document["deployments"]), document["nodes"]) == (names, [])


def only_key_on(world: World, node: str, deployment: str) -> Any:
    (key,) = [key for key in world.picture.fleet.nodes[node].replicas if key.deployment == deployment]
    return key


def test_deployments_of_a_worker_can_be_listed_by_its_name(world: World) -> None:
    on = {key.deployment for key in world.picture.fleet.nodes["w2"].replicas}
    found = pages(world, DescribeDeployments(limit=2, node="w2"))
    assert [name for each in found for name in ids(each["deployments"])] == sorted(on)
    world.picture.fleet.nodes["w2"].name = "big"
    assert len(ask(world, DescribeInstances(node="big"))) == len(world.picture.fleet.nodes["w2"].replicas)


def test_nodes_workers_and_replicas_can_be_filtered(world: World) -> None:
    world.unlink("w3")
    assert ids(ask(world, DescribeNodes(state="suspect"))["nodes"]) == ["w3"]
    assert ids(ask(world, DescribeNodes(role="gateway"))["nodes"]) == ["g"]
    assert ids(ask(world, DescribeNodes(role="worker", state="up"))["nodes"]) == ["w0", "w1", "w2", "w4"]
    assert ids(ask(world, DescribeWorkers(state="suspect"))) == ["w3"]
    assert len(ask(world, DescribeInstances(state="ready"))) == 20
    assert ask(world, DescribeInstances(state="asleep")) == []
    both = ask(world, DescribeInstances(node="w0", deployment="m0:command"))
    assert ids(both) == [f"{only_key_on(world, 'w0', 'm0:command')}.0"]


# ---- items


def test_one_replica_is_found_by_its_id_whatever_its_starts(world: World) -> None:
    known = world.deploy("one")
    key = only_key(known)
    for name in (f"{key}.0", f"{key}.7", str(key)):
        assert ask(world, DescribeInstance(name))["deployment"] == "one:command"


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (DescribeDeployment("x:vllm"), "there is no deployment x:vllm: `sllm status` lists them"),
        (DescribeWorker("g"), "there is no worker g: `sllm status --nodes` lists them"),
        (DescribeInstance("x"), "there is no instance 'x': GET /instances lists them"),
        (DescribeInstance("m0:command@1.9999.0"), "there is no instance 'm0:command@1.9999.0'"),
        (DescribeInstance("x:vllm@1.1.1"), "there is no instance 'x:vllm@1.1.1'"),
        (DescribeInstances(deployment="x:vllm"), "there is no deployment x:vllm"),
        (DescribeInstances(node="x"), "there is no worker x"),
        (DescribeDeployments(node="x"), "there is no worker x"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(world: World, question: Any, sentence: str) -> None:
    refusal = refused(world, question)
    assert refusal.kind is RefusalKind.UNKNOWN
    assert refusal.message.startswith(sentence)
    assert refusal.param == next(
        (each for each in ("deployment", "node") if getattr(question, each, "")), None
    ) or (isinstance(question, DescribeDeployment))


def test_a_name_of_two_workers_is_refused_with_their_ids(world: World) -> None:
    for node in ("w1", "w2"):
        world.picture.fleet.nodes[node].name = "twin"
    refusal = refused(world, DescribeWorker("twin"))
    assert refusal.message == "2 workers are called twin: name one by its id, of w1, w2"


# ---- what is not allowed


@pytest.mark.parametrize(
    ("question", "param", "sentence"),
    [
        (DescribeDeployments(limit=0), "limit", "limit must be from 1 to 1000, not 0"),
        (DescribeInstances(limit=1001), "limit", "limit must be from 1 to 1000, not 1001"),
        (
            DescribeDeployments(state="x"),
            "state",
            "state must be ready, asleep, starting, pending, idle, failed, crash_loop or deleting, not 'x'",
        ),
        (DescribeNodes(state="ready"), "state", "state must be up, suspect or down, not 'ready'"),
        (DescribeWorkers(state="ready"), "state", "state must be up, suspect or down, not 'ready'"),
        (DescribeNodes(role="head"), "role", "role must be worker or gateway, not 'head'"),
        (
            DescribeInstances(state="on"),
            "state",
            "state must be pending, starting, ready, asleep, draining, failed or crash_loop, not 'on'",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(
    world: World, question: ListQuestion, param: str, sentence: str
) -> None:
    refusal = refused(world, question)
    assert (refusal.kind, refusal.param, refusal.message) == (RefusalKind.INVALID, param, sentence)


@pytest.mark.parametrize(
    "question",
    [DescribeDeployments(), DescribeCluster(), DescribeNodes(), DescribeWorkers(), DescribeInstances()],
)
def test_a_cursor_of_another_list_is_refused(world: World, question: ListQuestion) -> None:
    foreign = write_cursor(CursorKind.INSTANCE, "m", "1", "1", "uid")
    if isinstance(question, DescribeInstances):
        foreign = write_cursor(CursorKind.NODE, "w1")
    for cursor in (foreign, "damaged"):
        refusal = refused(world, evolve(question, cursor=cursor))
        assert (refusal.kind, refusal.param) == (RefusalKind.INVALID, "cursor")
        assert refusal.message.startswith("the cursor is none that this list gave out")


# ---- what it costs


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Count the calls of a function that renders or judges entries."""
    calls: list[Any] = []
    function: Callable[..., Any] = getattr(lists, name)

    def counting(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return function(*args, **options)

    monkeypatch.setattr(lists, name, counting)
    return calls


@pytest.mark.slow
def test_a_page_renders_only_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for number in range(50):
        world.worker(f"w{number:02}")
    for number in range(1000):
        world.deploy(f"m{number:04}")
    world.ready()
    for name, question, shown in (
        ("deployment_view", DescribeCluster(limit=10), 10),
        ("deployment_view", DescribeDeployments(limit=10, model="m0500"), 1),
        ("listed_instance_view", DescribeInstances(limit=10), 10),
        ("node_view", DescribeNodes(limit=10), 10),
        ("worker_view", DescribeWorkers(limit=10), 10),
    ):
        with monkeypatch.context() as patched:
            rendered = counted(patched, name)
            page = pages(world, question)[0] if shown == 1 else ask(world, question)
            assert len(rendered) == shown, question
            assert page


def test_a_page_looks_at_few_entries_even_if_none_passes_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.worker("w")
    for number in range(30):
        world.deploy(f"m{number:02}")
    monkeypatch.setattr(pages_module, "LOOKED_AT", 10)
    judged = counted(monkeypatch, "spoken_for")
    found = ask(world, DescribeDeployments(state="deleting"))
    assert (found["deployments"], len(judged)) == ([], 10)
    assert found["next"] is not None
    last = world.picture.catalogue.by_id["m29:command"]
    last.deleting = True
    everything = pages(world, DescribeDeployments(state="deleting"))
    assert [ids(each["deployments"]) for each in everything] == [[], [], ["m29:command"]]


def test_a_page_ends_where_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.worker("w")
    for number in range(4):
        world.deploy(f"m{number}")
    monkeypatch.setattr(pages_module, "PAGE_SIZE", 1)
    found = pages(world, DescribeDeployments())
    assert [len(each["deployments"]) for each in found] == [1, 1, 1, 1]
    everything = pages(world, DescribeCluster())
    assert [len(each["nodes"]) for each in everything] == [0, 0, 0, 0, 1]


def test_totals_are_of_the_whole_cluster_on_each_page(world: World) -> None:
    world.worker("big", gpus=4)
    world.deploy("gpus", num_gpus=3)
    world.unlink("w4")  # with its GPU
    for page in pages(world, DescribeCluster(limit=3)):
        assert page["totals"] == {
            "deployments": 11,
            "deployment_states": dict.fromkeys(DeploymentState, 0) | {"ready": 10, "starting": 1},
            "replicas": 21,
            "nodes": {"up": 6, "suspect": 1, "down": 0},
            "gpus": {"total": 8, "free": 5},
        }
