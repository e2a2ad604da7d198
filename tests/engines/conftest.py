"""Short folders: a unix socket's path may have 107 characters, and pytest's own are long."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="se-", dir="/tmp"))
    yield path
    shutil.rmtree(path)
