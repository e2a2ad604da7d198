"""Two replicas of a real small model on real vLLM, in one real cluster that all tests of this folder share.

vLLM takes most of a minute to start, so these tests run last, and the one that kills the worker after all.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI
from tests.e2e.cluster import Cluster

from sllm_actors.engines.interpreters import find_installed
from sllm_actors.engines.sources import gguf_file

from .family import MODEL, WARM, both_ready

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".engines"
LAST = "test_worker_loss.py"

COPY = """
import pathlib, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
source, target = map(pathlib.Path, sys.argv[1:])
model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.bfloat16,
                                             quantization_config=GgufConfig(dequantize=True))
model.save_pretrained(target)
AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder last, and the loss of the worker after them."""
    here = Path(__file__).parent
    items.sort(
        key=lambda item: (item.path.parent == here, item.path.parent == here and item.path.name == LAST)
    )


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """A Python that has vLLM for CPUs."""
    named = os.environ.get("SLLM_TEST_VLLM_PYTHON")
    python = named or str(CACHE / "engines" / "vllm" / "bin" / "python")
    if not Path(python).exists() or find_installed(python, "vllm") is None:
        pytest.skip("vLLM is not installed: make test-vllm")
    return python


@pytest.fixture(scope="session")
def model(vllm_python: str) -> Path:
    """The demo model in a form that vLLM reads, made once."""
    folder = CACHE / "models" / "smollm2-135m"
    if not folder.exists():
        fresh = folder.with_suffix(f".{os.getpid()}")
        fresh.mkdir(parents=True)
        subprocess.run(
            [vllm_python, "-c", COPY, str(gguf_file("demo:smollm2-135m")), str(fresh)],
            check=True,
            timeout=240,
        )
        fresh.rename(folder)
    return folder


@pytest.fixture(scope="session")
def cluster(vllm_python: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two ready replicas of the model."""
    running = Cluster(
        tmp_path_factory.mktemp("vllm"), "--engine-python", f"vllm={vllm_python}", "--warm", WARM
    )
    try:
        document = {
            "model": MODEL,
            "backend": "vllm",
            "source": str(model),
            "num_gpus": 0,
            "auto_scaling_config": {"min_instances": 2, "max_instances": 2},
            "backend_config": {"max_model_len": 1024, "cpu_kv_cache_gib": 1, "cpu_threads": 1},
        }
        httpx2.post(f"{running.url}/deployments", json=document, trust_env=False).raise_for_status()
        both_ready(running, within=300)
        running.sllm.look()
        yield running
        running.sllm.look()
        assert running.sllm.stop() == 0, running.sllm.output
        assert running.sllm.left() == []
    finally:
        running.close()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[OpenAI]:
    """The real client, as a user makes it; without its own retries, so that each failure is seen."""
    with OpenAI(base_url=f"{cluster.url}/v1", api_key="none", max_retries=0, timeout=90.0) as opened:
        yield opened
