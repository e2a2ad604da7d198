"""The loop of these tests."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module", params=[pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Hypercorn's protocols run on asyncio only here."""
    return request.param
