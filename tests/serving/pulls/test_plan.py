"""Which source and which workers a pull means."""

from __future__ import annotations

from typing import Any

import pytest
from tests.serving.picture.world import World

from sllm_actors.serving.messages import Refusal, RefusalKind
from sllm_actors.serving.pulls import plan as module
from sllm_actors.serving.pulls.messages import PlanPull, PullPlace, PullPlan
from sllm_actors.serving.pulls.plan import plan_pull


@pytest.fixture
def world() -> World:
    """A world with a large worker and a small one."""
    made = World()
    made.worker("big", gpus=8)
    made.worker("small", gpus=1)
    return made


def planned(world: World, model: str, **more: Any) -> PullPlan:
    plan = plan_pull(world.picture, PlanPull(model, **more))
    assert isinstance(plan, PullPlan), plan
    return plan


def refused(world: World, model: str = "m", **more: Any) -> Refusal:
    said = plan_pull(world.picture, PlanPull(model, **more))
    assert isinstance(said, Refusal), said
    return said


def where(plan: PullPlan) -> list[str]:
    return [each.node for each in plan.workers]


def test_what_is_not_deployed_is_read_as_a_deployment_would_be(world: World) -> None:
    plan = planned(world, "org/tiny")
    assert (plan.backend, plan.source) == ("vllm", "hf:org/tiny")
    plan = planned(world, "tiny", source="hf:org/tiny@v2:q4", backend="llamacpp")
    assert (plan.backend, plan.source) == ("llamacpp", "hf:org/tiny@v2:q4")
    assert planned(world, "/models/tiny").source == "/models/tiny"
    assert planned(world, "hf:org/tiny@v2").source == "hf:org/tiny@v2"
    assert planned(world, "demo:tiny", backend="llamacpp").source == "demo:tiny"


def test_a_deployment_says_by_any_of_its_names_what_it_loads_and_where_it_runs(world: World) -> None:
    world.deploy("m", backend="llamacpp", source="hf:org/m", aliases=["alias"], num_gpus=8)
    for name in ("m", "m:llamacpp", "alias"):
        plan = planned(world, name)
        assert (plan.backend, plan.source, where(plan)) == ("llamacpp", "hf:org/m", ["big"])
    assert planned(world, "m", backend="vllm").source == "hf:m"  # another deployment than this one
    assert planned(world, "m", source="hf:other/m").source == "hf:other/m"
    world.unlink("big")
    assert where(planned(world, "m")) == ["small"]


def test_a_name_that_several_deployments_have_is_refused_with_their_ids(world: World) -> None:
    world.deploy("m", backend="llamacpp", source="/m.gguf")
    world.deploy("m", backend="vllm", source="/m")
    said = refused(world)
    assert (said.kind, said.code, said.param) == (RefusalKind.CONFLICT, "model_ambiguous", "model")
    assert said.message == "m is deployed more than once: name one of m:llamacpp, m:vllm"
    assert planned(world, "m", backend="vllm").source == "/m"


def test_without_names_the_worker_that_a_replica_would_go_to_is_meant(world: World) -> None:
    assert where(planned(world, "org/tiny")) == ["small"]  # large ones are left for large replicas
    world.deploy("full", num_gpus=1)
    assert where(planned(world, "org/tiny")) == ["big"]
    world.deploy("fuller", num_gpus=8)
    assert where(planned(world, "org/tiny")) == ["big"]  # files come where there is no room now
    for name in ("big", "small"):
        world.drain(name)
    assert where(planned(world, "org/tiny")) == ["big"]


def test_workers_are_named_by_name_or_id_each_once_or_all_at_once(world: World) -> None:
    assert where(planned(world, "m", workers=("small", "big", "small"))) == ["big", "small"]
    assert where(planned(world, "m", everywhere=True)) == ["big", "small"]
    assert planned(world, "m", workers=("big",)).workers == (PullPlace("big", "big"),)
    said = refused(world, workers=("big", "nowhere"))
    assert (said.kind, said.code) == (RefusalKind.UNKNOWN, "node_not_found")
    assert said.message == "there is no worker nowhere: `sllm status --nodes` lists them"


def test_a_worker_that_is_not_linked_cannot_be_named(world: World) -> None:
    world.unlink("big")
    said = refused(world, workers=("big",))
    assert (said.kind, said.code) == (RefusalKind.UNAVAILABLE, "worker_unavailable")
    assert said.message == "worker big is suspect: it is silent"


def test_without_any_worker_a_pull_waits_for_one_to_be_started() -> None:
    said = refused(World())
    assert (said.kind, said.retry_after) == (RefusalKind.UNAVAILABLE, 1.0)
    assert said.message == "no worker is connected: start one with `sllm worker --head HOST:8000`"


def test_a_pull_has_only_so_many_workers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORKERS", 1)
    said = refused(world, everywhere=True)
    assert (said.param, said.message) == ("workers", "these are 2 workers: name at most 1 at a time")


@pytest.mark.parametrize(
    ("asked", "param", "sentence"),
    [
        ({"model": "a b"}, "model", "must have 1 to 256 characters"),
        ({"model": "m", "backend": "external"}, "backend", "nothing to pull for the backend external: only"),
        ({"model": "hf:a/b/c"}, "source", "hf:a/b/c does not name a model on a hub"),
        ({"model": "m", "source": "hf:a/b/c"}, "source", "hf:a/b/c does not name a model on a hub"),
    ],
)
def test_what_could_not_be_deployed_cannot_be_pulled(
    world: World, asked: dict[str, str], param: str, sentence: str
) -> None:
    said = refused(world, **asked)
    assert (said.kind, said.param) == (RefusalKind.INVALID, param)
    assert sentence in said.message
