"""A model's files, as far as a backend looks at them before its engine does."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def model(folder: Path) -> Path:
    """A folder with a configuration and weights."""
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"123")
    return model
