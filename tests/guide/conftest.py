"""The images that the guides run."""

from __future__ import annotations

from tests.containers.conftest import store

__all__ = ["store"]
