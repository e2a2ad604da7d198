"""Hosts in short folders: a unix socket's path may have 107 characters, and pytest's own are long."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.host import EngineHost, open_host
from sllm_actors.engines.policy import EnginePolicy

from .tiny import make_modules


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="se-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(folder: Path) -> EngineHost:
    health = HealthPolicy(interval=0.1, timeout=0.5, misses=2)
    return open_host(folder, policy=EnginePolicy(health=health, stop_budget=5.0))


@pytest.fixture
def modules(folder: Path) -> Path:
    return make_modules(folder)
