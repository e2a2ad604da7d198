"""Two replicas of a real small model on real vLLM, in one real cluster that most tests of this folder share.

Their engines are forked, as they are on any worker; a plain start, which takes most of a minute, has a test
of its own. All this takes long, so these tests run last, and the one that kills the worker after all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI
from tests.e2e.cluster import Cluster

from sllm_actors.engines.installs.interpreters import find_installed

from .family import DOCUMENT, both_ready, deploy

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".engines"
FIRST, LAST = "test_first_start.py", "test_worker_loss.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder last: first the first start of an engine, last the loss of the worker."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        return 1 + (item.path.name != FIRST) + (item.path.name == LAST) if item.path.parent == here else 0

    items.sort(key=place)
    for item in items:
        if place(item):
            item.add_marker(pytest.mark.alone)
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """A Python that has vLLM for CPUs."""
    named = os.environ.get("SLLM_TEST_VLLM_PYTHON")
    python = named or str(CACHE / "engines" / "vllm" / "bin" / "python")
    if not Path(python).exists() or find_installed(python, "vllm") is None:
        pytest.skip("vLLM is not installed: make test-vllm")
    return python


@pytest.fixture(scope="session")
def cluster(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two ready replicas of the model, which were deployed right after its start."""
    running = Cluster(tmp_path_factory.mktemp("vllm"), *arguments_for(vllm_python), "--fork-servers", "vllm")
    try:
        deploy(running, DOCUMENT | {"auto_scaling_config": {"min_instances": 2, "max_instances": 2}})
        both_ready(running, within=240)
        running.sllm.look()
        yield running
        running.sllm.look()
        assert running.sllm.stop() == 0, running.sllm.output
        assert running.sllm.left() == []
    finally:
        running.close()


def arguments_for(python: str) -> tuple[str, ...]:
    """Return what a worker needs to run vLLM; the model's copy is kept for the next time."""
    return ("--engine-python", f"vllm={python}", "--storage-path", str(CACHE))


@pytest.fixture
def client(cluster: Cluster) -> Iterator[OpenAI]:
    """The real client, as a user makes it; without its own retries, so that each failure is seen."""
    with OpenAI(base_url=f"{cluster.url}/v1", api_key="none", max_retries=0, timeout=90.0) as opened:
        yield opened
