"""podman on three hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hosts.network import Network, network_of

from .machines import Machines
from .podman import NoContainers, Podman, running_podman
from .store import ENGINES, images

REQUIRED = "SLLM_TEST_CONTAINERS"
"""The environment variable that says that these tests fail where no container can run; else they skip."""


@pytest.fixture(scope="module")
def store() -> Path:
    """The folder with the images."""
    try:
        return images()
    except NoContainers as why:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(f"no container can run here: {why}")


@pytest.fixture(scope="module")
def network(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network_of(tmp_path_factory.mktemp("hosts"), "head", "w1", "w2") as made:
        yield made


@pytest.fixture(scope="module")
def podman(store: Path, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """podman, which sees the hosts' networks."""
    with running_podman(tmp_path_factory.mktemp("podman"), store) as made:
        yield made


@pytest.fixture
def long_form() -> None:
    """Skip the test where images were built without vLLM, and that for GPUs not at all."""
    if "vllm" not in ENGINES.split():
        pytest.skip("only in the long form of these tests: make soak-containers")


@pytest.fixture
def machines(podman: Podman, network: Network, tmp_path: Path) -> Iterator[Machines]:
    """The hosts, on which nothing runs yet."""
    made = Machines(podman, network, tmp_path)
    try:
        yield made
    finally:
        made.close()
