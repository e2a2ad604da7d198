"""Scripts and files that were written for ServerlessLLM, both generations, against a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sllm_actors.engines.backends.vllm_settings import read_vllm_settings
from sllm_actors.serving.deployment.document import read_document

from .cluster import Cluster
from .commands import gguf, sllm

pytestmark = pytest.mark.allow_blocking


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--fork-servers", "none")
    try:
        yield running
    finally:
        running.close()


def released(model: str) -> dict[str, Any]:
    """Return a file of the released server: all its tables, with the model's path among the settings."""
    return {
        "model": model,
        "backend": "llamacpp",
        "num_gpus": 0,
        "auto_scaling_config": {
            "metric": "concurrency",
            "target": 2,
            "min_instances": 1,
            "max_instances": 10,
            "keep_alive": 0,
        },
        "router_config": {"migration_delta": 20},
        "scheduler_config": {"alpha": 0.01, "beta": 0.1},
        "placement_config": {"local_disk": ["0"], "memory_pool": ["0"]},
        "backend_config": {
            "pretrained_model_name_or_path": str(gguf()),
            "device_map": "auto",
            "hf_model_class": "AutoModelForCausalLM",
        },
    }


def beta(model: str) -> dict[str, Any]:
    """Return a file of the version that came after it."""
    return {
        "model": model,
        "backend": "llamacpp",
        "source": str(gguf()),
        "auto_scaling_config": {
            "target_ongoing_requests": 5,
            "min_instances": 1,
            "max_instances": 2,
            "keep_alive_seconds": 60,
        },
    }


def post(cluster: Cluster, path: str, body: dict[str, Any]) -> httpx2.Response:
    return cluster.http.post(path, json=body, timeout=180)


def scaling(cluster: Cluster, name: str) -> dict[str, Any]:
    found = cluster.described(name)["spec"]["auto_scaling_config"]
    assert isinstance(found, dict)
    return found


def test_a_model_is_registered_asked_updated_and_deleted_by_the_older_paths(cluster: Cluster) -> None:
    answer = post(cluster, "/register", released("older"))
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert [each.partition(" has no effect")[0] for each in answer.json()["warnings"]] == [
        "router_config",
        "scheduler_config",
        "placement_config",
        "backend_config.device_map",
        "backend_config.hf_model_class",
    ]
    assert cluster.ask(model="older")
    assert post(cluster, "/register", released("older")).json()["created"] is False

    answer = post(cluster, "/update", {"model": "older", "auto_scaling_config": {"target": 7}})
    assert (answer.status_code, answer.json()["status"]) == (200, "updated model older")
    assert (scaling(cluster, "older:llamacpp")["target"], answer.json()["changed"]) == (
        7,
        ["auto_scaling_config.target"],
    )

    for _ in range(2):  # what is gone is deleted, too
        answer = post(cluster, "/delete", {"model": "older", "backend": "llamacpp"})
        assert (answer.status_code, answer.json()["status"]) == (200, "deleted model older")
        assert cluster.http.get("/deployments/older:llamacpp").status_code == 404
    assert post(cluster, "/register", released("older")).json()["created"] is True
    assert post(cluster, "/delete", {"model": "older"}).status_code == 200


def test_a_registration_with_other_settings_is_refused_and_changes_nothing(cluster: Cluster) -> None:
    assert post(cluster, "/register", released("taken")).status_code == 200
    other = released("taken") | {"auto_scaling_config": {"target": 9}}
    refused = post(cluster, "/register", other)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "deployment_exists")
    assert scaling(cluster, "taken:llamacpp")["target"] == 2
    assert post(cluster, "/delete", {"model": "taken"}).status_code == 200


def test_files_of_both_generations_are_deployed_by_the_command_line(cluster: Cluster, tmp_path: Path) -> None:
    for model, document in (("first", released("first")), ("second", beta("second"))):
        file = tmp_path / f"{model}.json"
        file.write_text(json.dumps(document))
        done = sllm(cluster, "deploy", "--config", str(file), "--wait")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"Ready: {model}:llamacpp"
        assert cluster.ask(model=model, backend="llamacpp")
    kept = scaling(cluster, "second:llamacpp")
    assert (kept["target"], kept["keep_alive"], kept["max_instances"]) == (5, 60.0, 2)
    assert sllm(cluster, "delete", "first", "second", "--backend", "llamacpp").returncode == 0


def test_the_settings_of_vllm_in_files_of_both_generations_are_those_of_today() -> None:
    first = {
        "torch_dtype": "float16",
        "load_format": "auto",
        "enforce_eager": False,
        "enable_prefix_caching": True,
        "task": "auto",
        "trace_debug": False,
    }
    second = {
        "tensor_parallel_size": 2,
        "max_model_len": 2048,
        "gpu_memory_utilization": 0.8,
        "dtype": "bfloat16",
        "trust_remote_code": True,
        "extra_args": "--max-num-batched-tokens 4096 --disable-log-stats",
    }
    for given in (first, second):
        spec, _ = read_document(json.dumps({"model": "m", "backend": "vllm", "backend_config": given}))
        found = read_vllm_settings(spec.settings)
        assert found.dtype == given.get("torch_dtype", given.get("dtype"))
    assert list(found.extra_args) == ["--max-num-batched-tokens", "4096", "--disable-log-stats"]
