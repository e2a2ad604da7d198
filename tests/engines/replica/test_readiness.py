"""What an answer of an engine says about it, and what says nothing about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from tests.descriptors import no_descriptors

from sllm_actors.engines.health_policy import HealthPolicy
from sllm_actors.engines.replica.readiness import OUT_OF_DESCRIPTORS, HealthProbe

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=[pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """As a worker runs."""
    return request.param


@asynccontextmanager
async def healthy_engine(path: Path) -> AsyncIterator[str]:
    """Serve good answers, each on a connection of its own."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"unix:{path}"
        tasks.cancel_scope.cancel()


async def test_a_worker_without_descriptors_does_not_take_its_engine_for_dead(tmp_path: Path) -> None:
    policy = HealthPolicy(interval=0.01, misses=2)
    async with (
        healthy_engine(tmp_path / "engine") as address,
        HealthProbe(address, ("/health",), policy) as probe,
    ):
        assert await probe.ask() == ""
        with no_descriptors():
            assert await probe.ask() == OUT_OF_DESCRIPTORS
            with anyio.move_on_after(0.5) as watched:
                await probe.until_unhealthy()
            assert watched.cancelled_caught
        assert await probe.ask() == ""
