"""``gpu_memory: auto``: models share a GPU by what is reckoned for them. Real processes, on a played GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import Cluster, eventually
from .commands import sllm
from .test_sharing_a_gpu import PLAYED, ROOT

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(600)]

ENGINES = ROOT / "tests" / "e2e" / "played_engines"
MIB = 2**20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that takes 6.6 GB for eight requests: the folder has its figures, and 64 MiB of zeros."""
    folder = tmp_path / "model"
    folder.mkdir()
    figures = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    figures |= {"hidden_size": 4096, "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(figures))
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(64 * MIB)
    return folder


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """The folder in which each process says how much of the GPU it has."""
    folder = tmp_path / "held"
    folder.mkdir()
    return folder


@pytest.fixture
def cluster(tmp_path: Path, held: Path) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAYED_GPU", str(held))
        patch.setenv("PYTHONPATH", f"{PLAYED}:{ENGINES}:{ROOT}")
        running = Cluster(tmp_path / "sllm")
    try:
        yield running
    finally:
        running.close()


def deploy(cluster: Cluster, name: str, model: Path, gpu_memory: str) -> None:
    where = ("--backend", "sglang", "--source", str(model), "--gpu-memory", gpu_memory)
    done = sllm(cluster, "deploy", "--model", name, *where)
    assert done.returncode == 0, done.stderr


def instance(cluster: Cluster, name: str) -> dict[str, Any]:
    (only,) = cluster.wait_ready(f"{name}:sglang")["instances"]
    found: dict[str, Any] = only
    return found


def test_one_that_does_not_start_with_what_was_estimated_gets_more(cluster: Cluster, model: Path) -> None:
    """The engine needs more than anybody could know: it says so, and ends."""
    figures = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(figures | {"played_needs": 6_400}))
    eventually(lambda: any(node["gpus_total"] for node in cluster.nodes()), what="the GPU is known")
    deploy(cluster, "hungry", model, "auto")
    found = instance(cluster, "hungry")
    assert 8.0e9 < found["gpu_share"] < 8.5e9
    assert found["revision"] == 1
    assert cluster.ask("hello", model="hungry").startswith("hello")
    described = cluster.described("hungry:sglang")
    assert described["gpu_memory"] == found["gpu_share"]
    assert described["gpu_memory_of"].endswith(", and more since that did not suffice")
    told = sllm(cluster, "events", "hungry").stdout
    assert "it did not start with 6.6 GB of each GPU: the next one gets 8.3 GB" in " ".join(told.split())


def test_estimated_and_declared_shares_have_one_gpu_and_a_declared_number_wins(
    cluster: Cluster, model: Path, held: Path
) -> None:
    eventually(lambda: any(node["gpus_total"] for node in cluster.nodes()), what="the GPU is known")
    deploy(cluster, "declared", model, "70GB")
    assert instance(cluster, "declared")["gpu_share"] == 70 * 10**9
    for name in ("first", "second"):
        deploy(cluster, name, model, "auto")
        found = instance(cluster, name)
        assert 6.4e9 < found["gpu_share"] < 6.8e9
        has = int((held / str(found["pid"])).read_text()) * MIB
        assert 0.88 < has / found["gpu_share"] < 0.91, "it was told its share as it started"
        assert cluster.ask("hello", model=name).startswith("hello")
    shown = " ".join(sllm(cluster, "status", "first").stdout.split())
    made = "67.1 MB for weights + 2.2 GB beside them + 537 MB for each of 8 requests of 4096 tokens"
    assert f"of each GPU for each replica (estimated: {made})" in shown

    deploy(cluster, "third", model, "auto")

    def waits() -> str:
        detail: str = cluster.described("third:sglang")["detail"]
        return detail if "is an estimate" in detail else ""

    detail = eventually(waits, what="it is told what the third waits for")
    assert "on the GPU with the most" in detail
    assert made in detail
    assert "a gpu_memory that you give, as 6G, goes before it" in detail
    update = sllm(cluster, "update", "third:sglang", "--gpu-memory", "1GB")
    assert update.returncode == 0, update.stderr
    assert instance(cluster, "third")["gpu_share"] == 10**9
    assert cluster.ask("hello", model="third").startswith("hello")
