"""A store in a file, and databases of both kinds for stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres import Postgres, why_not
from tests.serving.store.stored import Place

from sllm_actors.serving.store.database import sqlite_url
from sllm_actors.serving.store.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(sqlite_url(path))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, for all tests that this process runs."""
    if reason := why_not():
        pytest.skip(reason)
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, path: Path) -> Place:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return Place(sqlite_url(path))
    server: Postgres = request.getfixturevalue("postgres")
    return Place(server.new_schema())
