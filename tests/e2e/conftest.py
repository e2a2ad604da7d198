"""Real clusters for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from .cluster import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole clusters are nothing for the inner loop."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster whose demo model is ready, shared by the tests of one module."""
    running = Cluster(tmp_path_factory.mktemp("sllm"), "--demo")
    try:
        running.wait_ready()
        yield running
    finally:
        running.close()


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A running cluster of one test's own, without a model."""
    running = Cluster(tmp_path / "data")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[OpenAI]:
    """The real client, as a user makes it; without its own retries, so that each failure is seen."""
    with OpenAI(base_url=f"{cluster.url}/v1", api_key="none", max_retries=0, timeout=60.0) as opened:
        yield opened
