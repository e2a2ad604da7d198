"""A gateway that is told to stop ends within its grace, and tells each client that it leaves why."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.played_head import played_head
from tests.gateway.raw_engine import Call
from tests.http_server.shells import Shell

from sllm_actors.serving.views.messages import DescribeCluster

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}
GRACE = 0.2


async def begin_and_wait(call: Call) -> None:
    await call.begin_events()
    await call.text("hel")
    await call.chunk(b'data: {"half')
    await call.hung_up.wait()


async def wait(call: Call) -> None:
    await call.hung_up.wait()


async def flood(call: Call) -> None:
    await call.begin_events()
    while not call.hung_up.is_set():
        await call.text("x" * 100_000)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def stopping(
    cluster: PlayedCluster, engine: Any, behave: Callable[[Call], Awaitable[None]], request: Any
) -> tuple[int, str]:
    """Stop the gateway while an engine does that; return the status and the body that its client got."""
    engine.behave = behave
    await cluster.deploy(served(backend="vllm"))
    await cluster.report(replica("smol:vllm", address=engine.address))
    text = ""
    async with cluster.http() as http:

        async def stop() -> None:
            await until(lambda: engine.calls)
            cluster.shutdown.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            async with http.stream("POST", "/v1/chat/completions", json=request) as answer:
                async for data in answer.aiter_text():
                    text += data
    return answer.status_code, text


async def test_an_open_stream_ends_with_an_error_event(
    tmp_path: Path, shell: Shell, broken_engine: Engines
) -> None:
    async with broken_engine() as engine, running_gateway(tmp_path, shell=shell, grace=GRACE) as cluster:
        status, text = await stopping(cluster, engine, begin_and_wait, HELLO | {"stream": True})
        await until(engine.calls[0].hung_up.is_set)  # and the engine does not go on for nobody
    assert status == 200
    first, last, nothing = text.split("\n\n")  # whole events only
    assert "hel" in first
    assert nothing == ""
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"], error["param"]) == ("gateway_stopping", "server_error", None)
    assert "stopped" in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_without_an_answer_yet_gets_503(
    tmp_path: Path, shell: Shell, broken_engine: Engines, stream: bool
) -> None:
    async with broken_engine() as engine, running_gateway(tmp_path, shell=shell, grace=GRACE) as cluster:
        status, text = await stopping(cluster, engine, wait, HELLO | {"stream": stream})
    assert status == 503
    assert json.loads(text)["error"]["code"] == "gateway_stopping"


async def test_a_request_that_ends_within_the_grace_is_answered(
    tmp_path: Path, shell: Shell, broken_engine: Engines
) -> None:
    async with broken_engine() as engine, running_gateway(tmp_path, shell=shell, grace=60) as cluster:

        async def answer_then(call: Call) -> None:
            await cluster.shutdown.wait()
            await call.answer(200, {"id": "c-1"})

        status, text = await stopping(cluster, engine, answer_then, HELLO)
    assert (status, json.loads(text)) == (200, {"id": "c-1"})


@pytest.mark.slow
async def test_a_held_stream_ends_with_an_error_event(tmp_path: Path, shell: Shell) -> None:
    async with (
        running_gateway(tmp_path, shell=shell, grace=GRACE, keep_alive_interval=0.05) as cluster,
        cluster.http() as http,
    ):
        await cluster.deploy(served())
        async with http.stream("POST", "/v1/chat/completions", json=HELLO | {"stream": True}) as held:
            assert held.status_code == 200
            text = ""
            async for data in held.aiter_text():
                text += data
                cluster.shutdown.set()  # it is held: it hears comments
    assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == "gateway_stopping"


@pytest.mark.cleartext
async def test_a_client_that_does_not_read_holds_nothing_up(
    tmp_path: Path, shell: Shell, broken_engine: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.fail_after(60):
        async with broken_engine() as engine, running_gateway(tmp_path, shell=shell, grace=GRACE) as cluster:
            engine.behave = flood
            await cluster.deploy(served(backend="vllm"))
            await cluster.report(replica("smol:vllm", address=engine.address))
            host, port = cluster.url.removeprefix("http://").split(":")
            async with await anyio.connect_tcp(host, int(port)) as stream:
                body = json.dumps(HELLO | {"stream": True}).encode()
                head = (
                    f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                await stream.send(head.encode() + body)
                await until(lambda: engine.calls)
                cluster.shutdown.set()
                await engine.calls[0].hung_up.wait()
    assert "Traceback" not in caplog.text


async def test_a_control_request_that_waits_gets_503_and_no_traceback(
    tmp_path: Path, shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running_gateway(tmp_path, shell=shell, grace=GRACE, control_timeout=30.0) as cluster,
        cluster.http() as http,
        anyio.create_task_group() as tasks,
    ):
        controller = await played_head(cluster)  # it never answers

        async def stop() -> None:
            await controller.expect(DescribeCluster)
            cluster.shutdown.set()

        tasks.start_soon(stop)
        answer = await http.get("/status")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "gateway_stopping"
    assert "Traceback" not in caplog.text


async def test_a_kept_connection_hears_that_no_more_requests_are_wanted(
    tmp_path: Path, shell: Shell, broken_engine: Engines
) -> None:
    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, shell=shell, grace=60) as cluster,
        cluster.http() as kept,
    ):
        assert (await kept.get("/health")).status_code == 200

        async def look_then(call: Call) -> None:
            await cluster.shutdown.wait()
            health = await kept.get("/health")
            assert (health.status_code, health.json()["error"]["code"]) == (503, "gateway_stopping")
            await call.answer(200, {"id": "c-1"})

        status, text = await stopping(cluster, engine, look_then, HELLO)
    assert (status, json.loads(text)) == (200, {"id": "c-1"})
