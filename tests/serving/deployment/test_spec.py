"""What follows from a deployment's settings."""

from __future__ import annotations

import pytest

from sllm_actors.serving.deployment.problem import DeploymentProblem
from sllm_actors.serving.deployment.spec import DeploymentSpec, Scaling


def test_the_id_is_model_and_backend() -> None:
    assert DeploymentSpec(model="facebook/opt-1.3b").id == "facebook/opt-1.3b:vllm"


@pytest.mark.parametrize("name", ["a", "facebook/opt-1.3b", "/models/a.gguf", "名前", "a:b%c", "x" * 256])
def test_a_model_may_be_called(name: str) -> None:
    assert DeploymentSpec(model=name).model == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a\n", "a\t", "a@b", "a?b", "a#b", "a\\b", "x" * 257, "a\x7f", "a\u2028b", "a\xa0b"],
)
def test_a_model_may_not_be_called(name: str) -> None:
    with pytest.raises(ValueError, match=r"^'model' must have 1 to 256 characters"):
        DeploymentSpec(model=name)


@pytest.mark.parametrize("name", ["", "VLLM", "1x", "a-b", "a" * 33, "vllm\n"])
def test_a_backend_is_an_engines_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"^'backend' cannot be"):
        DeploymentSpec(model="m", backend=name)


def test_one_replica_is_started_at_once_unless_a_minimum_says_how_many() -> None:
    assert DeploymentSpec(model="m").replicas == 1
    assert DeploymentSpec(model="m", scaling=Scaling(min_instances=3, max_instances=3)).replicas == 3
    assert DeploymentSpec(model="m", scaling=Scaling(min_instances=0)).replicas == 0


def test_an_external_deployment_has_one_replica_for_each_endpoint_in_turn() -> None:
    spec = DeploymentSpec(model="m", backend="external", endpoints=("http://a", "http://b"))
    assert spec.replicas == 2
    assert [spec.source_of(number) for number in range(4)] == ["http://a", "http://b", "http://a", "http://b"]


def test_a_deployment_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(DeploymentProblem, match=r"^2 mistakes: an external deployment needs .*; num_gpus "):
        DeploymentSpec(model="m", backend="external", num_gpus=1)
    with pytest.raises(ValueError, match=r"^'endpoints' must be addresses: 'a:1' has no http://"):
        DeploymentSpec(model="m", backend="external", endpoints=("a:1",))


def test_seconds_are_numbers_of_one_kind() -> None:
    spec = DeploymentSpec(model="m", hold_timeout=2, scaling=Scaling(keep_alive=3))
    assert [type(each) for each in (spec.hold_timeout, spec.scaling.keep_alive)] == [float, float]


def test_where_the_files_are() -> None:
    assert DeploymentSpec(model="org/name").source_of(0) == "hf:org/name"
    assert DeploymentSpec(model="/models/a.gguf").source_of(7) == "/models/a.gguf"
    assert DeploymentSpec(model="a", source="demo:b").source_of(0) == "demo:b"


def test_gpus_of_a_replica() -> None:
    def gpus(backend: str, settings: dict[str, object] | None = None, num_gpus: int | None = None) -> int:
        return DeploymentSpec(model="m", backend=backend, settings=settings or {}, num_gpus=num_gpus).gpus

    assert gpus("vllm") == gpus("sglang") == 1
    assert gpus("llamacpp") == gpus("llamacpp", {"tensor_parallel_size": 2}) == 0
    assert gpus("vllm", {"tensor_parallel_size": 4}) == 4
    assert gpus("vllm", {"tensor_parallel_size": "4"}) == gpus("vllm", {"tensor_parallel_size": 0}) == 1
    assert gpus("vllm", {"tensor_parallel_size": 4}, num_gpus=2) == 2
    assert gpus("llamacpp", num_gpus=1) == 1


def test_vllm_takes_no_gpu_of_a_worker_that_has_none_unless_it_was_asked_for() -> None:
    four = {"tensor_parallel_size": 4}
    assert DeploymentSpec(model="m", backend="vllm", settings=four).gpus_on(0) == 0
    assert DeploymentSpec(model="m", backend="vllm", settings=four).gpus_on(2) == 4
    assert DeploymentSpec(model="m", backend="vllm", num_gpus=1).gpus_on(0) == 1
    assert DeploymentSpec(model="m", backend="sglang").gpus_on(0) == 1
