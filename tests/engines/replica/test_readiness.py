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
from tests.strangers import own_connection

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
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, own_connection(answer))
        yield f"unix:{path}"
        tasks.cancel_scope.cancel()


@pytest.mark.slow
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


async def test_an_engine_that_gives_cause_is_asked_before_the_pause_is_over(tmp_path: Path) -> None:
    policy = HealthPolicy(first=3600.0, longest=3600.0)
    said: list[str] = []
    listening = anyio.Event()

    async def listen() -> None:
        async with healthy_engine(tmp_path / "engine"):
            listening.set()
            await anyio.sleep_forever()

    def say(doing: str) -> None:
        said.append(doing)
        group.start_soon(listen)

    with anyio.fail_after(60):
        async with (
            HealthProbe(f"unix:{tmp_path / 'engine'}", ("/health",), policy) as probe,
            anyio.create_task_group() as group,
        ):
            assert await probe.until_ready(say, listening.wait) == ""
            group.cancel_scope.cancel()
    assert said == ["not listening yet"]


async def test_an_engine_that_is_always_writing_is_asked_no_faster_than_it_may_be(tmp_path: Path) -> None:
    asked = 0
    policy = HealthPolicy(least=3600.0, first=3600.0, longest=3600.0)

    async def write() -> None:
        nonlocal asked
        asked += 1

    async with HealthProbe(f"unix:{tmp_path / 'none'}", ("/health",), policy) as probe:
        with anyio.move_on_after(0.3):
            await probe.until_ready(lambda _: None, write)
    assert asked == 0
