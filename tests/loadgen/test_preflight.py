"""What is looked at before a load is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sllm_actors.loadgen.preflight import check_models
from sllm_actors.loadgen.problem import LoadProblem

from .server import ScriptedServer, scripted

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted() as made:
        yield made


async def check(url: str, *models: str, key: str = "") -> str:
    """Return the sentence about what is wrong, or ""."""
    try:
        await asyncio.to_thread(check_models, url, key, models)
    except LoadProblem as problem:
        return str(problem)
    return ""


async def test_models_that_are_listed_or_answered_to_are_there(server: ScriptedServer) -> None:
    assert await check(server.url, "m", "alias", key="k") == ""
    assert set(server.keys) == {"Bearer k"}


async def test_a_model_that_is_not_there_is_named_with_those_that_are(server: ScriptedServer) -> None:
    server.models = [f"m{number}" for number in range(7)]
    assert await check(server.url, "m1", "x") == (
        f"there is no model 'x' at {server.url}: it has m0, m1, m2, m3, m4 and 2 more"
    )
    server.models = []
    assert await check(server.url, "x") == f"there is no model 'x' at {server.url}: it has none"


async def test_a_server_without_a_list_is_taken_as_it_is(server: ScriptedServer) -> None:
    server.models = None
    assert await check(server.url, "anything") == ""


async def test_what_speaks_no_http_is_told(server: ScriptedServer) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp ready\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as other:
        url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        assert (await check(url, "m")).startswith(f"no server answers at {url} (")
