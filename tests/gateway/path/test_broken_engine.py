"""What a client sees when the engine behind the gateway misbehaves."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call, RawEngine

from sllm_actors.engines.messages import ReplicaState

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}


async def closes_at_once(call: Call) -> None:
    pass


async def half_a_stream(call: Call) -> None:
    await call.begin_events()
    await call.text("hel")
    await call.chunk(b'data: {"half')


async def half_an_answer(call: Call) -> None:
    await call.stream.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )


async def rubbish(call: Call) -> None:
    await call.stream.send(b"SSH-2.0-OpenSSH_9.2\r\n" * 5)


async def endless_headers(call: Call) -> None:
    await call.stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await call.stream.send(b"x-more: " + b"x" * 8000 + b"\r\n")


async def chat(cluster: PlayedCluster, **more: Any) -> Any:
    return await cluster.client().chat.completions.create(**HELLO, **more)


async def whole(cluster: PlayedCluster) -> str:
    text: str = (await chat(cluster)).choices[0].message.content
    return text


async def streamed(cluster: PlayedCluster, **more: Any) -> str:
    text = ""
    async for chunk in await chat(cluster, stream=True, **more):
        text += chunk.choices[0].delta.content or ""
    return text


async def until_both_were_called(
    broken: RawEngine, sound: RawEngine, ask: Callable[[], Awaitable[str]]
) -> None:
    """Ask until the broken one of two engines was drawn by lot; each time the sound one has to answer."""
    asked = 0
    while not (broken.calls and asked >= 6):
        assert asked < 200
        assert await ask() == "hello"
        asked += 1
    assert len(sound.calls) == asked


async def deploy(cluster: PlayedCluster, *engines: RawEngine, backend: str = "vllm") -> None:
    await cluster.deploy(served(backend=backend))
    await cluster.report(
        *(
            replica(f"smol:{backend}", address=engine.address, number=number)
            for number, engine in enumerate(engines, 1)
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_breaks_before_its_answer_costs_nothing_where_there_is_another(
    cluster: PlayedCluster, broken_engine: Engines, stream: bool
) -> None:
    async with broken_engine() as broken, broken_engine() as sound:
        broken.behave = closes_at_once
        await deploy(cluster, broken, sound)
        await until_both_were_called(broken, sound, lambda: (streamed if stream else whole)(cluster))


async def test_a_stream_that_ends_with_its_deployment_says_so(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    deleted = anyio.Event()

    async def until_deleted(call: Call) -> None:
        await call.begin_events()
        await call.text("hel")
        await deleted.wait()

    async with broken_engine() as engine:
        engine.behave = until_deleted
        await deploy(cluster, engine)
        stream = await chat(cluster, stream=True)
        assert (await anext(stream)).choices
        await cluster.deploy()
        deleted.set()
        with pytest.raises(openai.APIError, match="it was stopped, since its deployment was deleted"):
            _ = [chunk async for chunk in stream]


@pytest.mark.slow
async def test_a_request_goes_to_three_replicas_at_most_and_never_twice_to_one(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with (
        broken_engine() as one,
        broken_engine() as two,
        broken_engine() as three,
        broken_engine() as four,
    ):
        engines = (one, two, three, four)
        for engine in engines:
            engine.behave = closes_at_once
        await deploy(cluster, *engines)
        with pytest.raises(openai.InternalServerError) as caught:
            await chat(cluster)
        assert caught.value.status_code == 502
        assert caught.value.code == "engine_broke"
        assert sorted(len(engine.calls) for engine in engines) == [0, 1, 1, 1]


async def test_a_request_to_the_only_replica_is_answered_when_its_engine_is_back(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as broken, broken_engine() as again, anyio.create_task_group() as tasks:
        broken.behave = closes_at_once
        await deploy(cluster, broken)
        answers: list[Any] = []
        tasks.start_soon(lambda: _into(answers, chat(cluster)))
        await broken.first_call()
        await cluster.report(replica("smol:vllm", ReplicaState.FAILED, retry_in=0.5, reason="signal SIGKILL"))
        await cluster.report(replica("smol:vllm", ReplicaState.STARTING, attempt=2))
        assert not answers
        await cluster.report(replica("smol:vllm", address=again.address, attempt=2))
    assert answers[0].choices[0].message.content == "hello"


async def _into(answers: list[Any], waiting: Any) -> None:
    answers.append(await waiting)


async def test_an_engine_that_dies_in_the_middle_of_a_stream_ends_it_with_an_error(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        engine.behave = half_a_stream
        await deploy(cluster, engine)
        with pytest.raises(openai.APIError, match="broke"):
            await streamed(cluster)
        async with cluster.http() as http:
            text = (await http.post("/v1/chat/completions", json=HELLO | {"stream": True})).text
    *_, last = text.strip().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_broke"
    assert "[DONE]" not in text
    assert '{"half' not in text, "a part of an event spoils the one after it"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vllm", "llamacpp"])
@pytest.mark.parametrize("behave", [half_an_answer, half_a_stream])
async def test_an_engine_that_dies_in_the_middle_of_a_whole_answer_gives_a_502(
    tmp_path: Path, broken_engine: Engines, behave: Any, backend: str
) -> None:
    if (behave, backend) == (half_a_stream, "vllm"):
        pytest.skip("vLLM is not streamed from behind a client's back")
    async with broken_engine() as engine, running_gateway(tmp_path, restart_notice=0.2) as cluster:
        engine.behave = behave
        await deploy(cluster, engine, backend=backend)
        with pytest.raises(openai.InternalServerError) as caught:
            await chat(cluster)
    assert caught.value.status_code == 502


@pytest.mark.slow
@pytest.mark.parametrize("behave", [rubbish, endless_headers])
async def test_what_is_not_http_is_an_engine_that_broke(
    cluster: PlayedCluster, broken_engine: Engines, behave: Any
) -> None:
    async with broken_engine() as broken, broken_engine() as sound:
        broken.behave = behave
        await deploy(cluster, broken, sound)
        await until_both_were_called(broken, sound, lambda: whole(cluster))


async def test_errors_of_an_engine_pass_unchanged_and_are_not_tried_elsewhere(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    error = {"error": {"message": "too long", "type": "BadRequestError", "code": 400}, "more": 1}

    async def refuse(call: Call) -> None:
        await call.answer(400, error, "X-Engine: yes", "Connection: close, x-private", "X-Private: 1")

    async with broken_engine() as engine, broken_engine() as other, cluster.http() as http:
        engine.behave = other.behave = refuse
        await deploy(cluster, engine, other)
        answer = await http.post("/v1/chat/completions", json=HELLO, headers={"x-request-id": "abc-1"})
        assert (answer.status_code, answer.json()) == (400, error)
        assert answer.headers["x-engine"] == "yes"
        assert answer.headers["x-request-id"] == "abc-1"
        assert "x-private" not in answer.headers
        assert len(engine.calls) + len(other.calls) == 1


async def test_an_error_in_the_stream_of_an_unstreamed_request_becomes_its_status(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async def break_off(call: Call) -> None:
        assert call.document["stream"] is True
        assert call.document["stream_options"] == {"include_usage": True}
        await call.begin_events()
        await call.text("hel")
        await call.event({"error": {"message": "out of memory", "type": "server_error", "code": 500}})
        await call.end()

    async with broken_engine() as engine:
        engine.behave = break_off
        await deploy(cluster, engine, backend="llamacpp")
        with pytest.raises(openai.InternalServerError, match="out of memory") as caught:
            await chat(cluster)
    assert caught.value.status_code == 500


@pytest.mark.cleartext  # HTTP/2 knows no Connection
async def test_an_engine_gets_the_clients_bytes_and_no_header_that_is_not_its_business(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    body = b'{"model": "other",  "model": "smol", "messages": [], "x": 1e400}'
    headers = {
        "Authorization": "Bearer secret",
        "Cookie": "a=b",
        "Connection": "Upgrade, HTTP2-Settings, x-hop",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAA",
        "X-Hop": "1",
        "X-Session-ID": "s-1",
        "Content-Type": "application/json",
    }
    async with broken_engine() as engine, cluster.http() as http:
        await deploy(cluster, engine)
        answer = await http.post("/v1/chat/completions?trace=1", content=body, headers=headers)
        assert answer.status_code == 200
        (call,) = engine.calls
    assert call.body == body
    first, *lines = call.head.decode().lower().split("\r\n")
    names = [line.split(":")[0] for line in lines]
    assert first == "post /v1/chat/completions?trace=1 http/1.1"
    assert not {"authorization", "cookie", "upgrade", "http2-settings", "x-hop"} & set(names)
    assert names.count("x-request-id") == names.count("content-length") == 1
    assert "connection" not in names  # it is kept for the next request
    assert "x-session-id: s-1" in lines
    assert answer.headers["x-request-id"] in call.head.decode()


async def test_an_engine_hears_the_name_that_it_serves(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await deploy(cluster, engine)
        await cluster.client().chat.completions.create(model="smol:vllm", messages=HELLO["messages"])
    assert engine.calls[0].document["model"] == "smol"


@pytest.mark.cleartext  # the client here tells nobody that it leaves a stream of HTTP/2
async def test_a_client_that_hangs_up_closes_the_connection_to_the_engine(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async def wait(call: Call) -> None:
        await call.begin_events()
        await call.text("hel")
        await call.hung_up.wait()

    async with broken_engine() as engine:
        engine.behave = wait
        await deploy(cluster, engine)
        async with anyio.create_task_group() as asking:
            asking.start_soon(streamed, cluster)
            call = await engine.first_call()
            asking.cancel_scope.cancel()
        with anyio.fail_after(60):
            await call.hung_up.wait()
            while cluster.gateway.balancer.total:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_an_engine_on_another_machine_is_reached_through_its_worker(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        cluster.tunnel_to = engine.port
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address="unix:/elsewhere.sock", machine="machine-2"))
        assert (await chat(cluster)).choices[0].message.content == "hello"
        ((node, opened),) = cluster.tunnels
    assert node == "worker-1"
    assert str(opened.id) == "smol:vllm@1.1.1"


async def test_an_engine_that_makes_no_progress_is_given_up(tmp_path: Any, broken_engine: Engines) -> None:
    async def hang(call: Call) -> None:
        await call.hung_up.wait()

    async with broken_engine() as engine, running_gateway(tmp_path, silence=0.2) as cluster:
        engine.behave = hang
        await deploy(cluster, engine)
        with pytest.raises(openai.InternalServerError) as caught:
            await chat(cluster)
        assert caught.value.status_code == 504
        with anyio.fail_after(60):
            await engine.calls[0].hung_up.wait()


async def test_chunks_are_passed_on_at_once(cluster: PlayedCluster, broken_engine: Engines) -> None:
    seen, said = anyio.Event(), anyio.Event()

    async def one_by_one(call: Call) -> None:
        await call.begin_events()
        await call.text("hel")
        await seen.wait()
        said.set()
        await call.text("lo")
        await call.end()

    async with broken_engine() as engine, cluster.http() as http:
        engine.behave = one_by_one
        await deploy(cluster, engine)
        async with http.stream("POST", "/v1/chat/completions", json=HELLO | {"stream": True}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["x-accel-buffering"] == "no"
            async for data in answer.aiter_bytes():
                if b"hel" in data:
                    assert not said.is_set()
                    seen.set()


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Any, broken_engine: Engines) -> None:
    async def flood(call: Call) -> None:
        await call.begin_events()
        while not call.hung_up.is_set():
            await call.text("x" * 100_000)

    async with broken_engine() as engine, running_gateway(tmp_path, silence=0.3) as cluster:
        engine.behave = flood
        await deploy(cluster, engine)
        host, port = cluster.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            body = json.dumps(HELLO | {"stream": True}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            await stream.send(head.encode() + body)
            call = await engine.first_call()
            with anyio.fail_after(60):
                await call.hung_up.wait()
