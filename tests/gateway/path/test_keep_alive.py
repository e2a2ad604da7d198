"""A client of a stream hears that it is waited for, whatever it is that it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import replica, running_gateway, served
from tests.gateway.raw_engine import Call

from sllm_actors.gateway.path.answers.events import EventCutter

pytestmark = pytest.mark.anyio

HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}], "stream": True}
COMMENT = ": keep-alive\n\n"
OFTEN: Any = {"keep_alive_interval": 0.05}
NEVER: Any = {"keep_alive_interval": 3600.0}


async def test_an_engine_that_is_silent_before_its_first_token_is_waited_for_aloud(
    tmp_path: Path, broken_engine: Engines
) -> None:
    waited = anyio.Event()

    async def think_first(call: Call) -> None:  # as llama.cpp: no headers before the first token
        await waited.wait()
        await call.begin_events()
        await call.text("hello", "stop")
        await call.end()

    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, **OFTEN) as cluster,
        cluster.http() as http,
    ):
        engine.behave = think_first
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        text = ""
        async with http.stream("POST", "/v1/chat/completions", json=HELLO) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for data in answer.aiter_text():
                text += data
                if text == 2 * COMMENT:
                    waited.set()
    assert text.startswith(2 * COMMENT)
    assert "hello" in text
    assert text.endswith("data: [DONE]\n\n")


async def test_an_engine_that_is_silent_between_two_events_is_waited_for_aloud(
    tmp_path: Path, broken_engine: Engines
) -> None:
    waited = anyio.Event()

    async def think_between(call: Call) -> None:
        await call.begin_events()
        await call.text("hel")
        await call.chunk(b'data: {"choices"')  # half an event: no comment may come into it
        await waited.wait()
        await call.chunk(b": []}\n\n")
        await call.end()

    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, **OFTEN) as cluster,
        cluster.http() as http,
    ):
        engine.behave = think_between
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        text = ""
        async with http.stream("POST", "/v1/chat/completions", json=HELLO) as answer:
            async for data in answer.aiter_text():
                text += data
                if text.endswith(2 * COMMENT):
                    waited.set()
    first, *rest = [part for part in text.split("\n\n") if part]
    assert "hel" in first
    assert {part for part in rest if part.startswith(":")} == {": keep-alive"}
    assert [part for part in rest if not part.startswith(":")] == ['data: {"choices": []}', "data: [DONE]"]


async def test_a_request_that_waits_for_a_replica_is_told_its_place_and_for_how_long(
    tmp_path: Path, broken_engine: Engines
) -> None:
    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, **OFTEN) as cluster,
        cluster.http() as http,
        anyio.create_task_group() as tasks,
    ):
        await cluster.deploy(served(idle=True, starts_in=41.5))
        first, second = anyio.Event(), anyio.Event()
        texts = ["", ""]

        async def wait(number: int, came: anyio.Event) -> None:
            async with http.stream("POST", "/v1/chat/completions", json=HELLO) as answer:
                async for data in answer.aiter_text():
                    texts[number] += data
                    came.set()

        tasks.start_soon(wait, 0, first)
        await first.wait()
        tasks.start_soon(wait, 1, second)
        await second.wait()
        await cluster.report(replica(address=engine.address, attempt=2))
    assert texts[0].startswith(": waiting: place 1 of 1, about 42 s\n\n")
    assert texts[1].startswith(": waiting: place 2 of 2, about 42 s\n\n")
    for text in texts:
        assert text.endswith("data: [DONE]\n\n")


async def test_an_error_after_a_comment_is_the_last_event(tmp_path: Path, broken_engine: Engines) -> None:
    commented = anyio.Event()

    async def refuse_late(call: Call) -> None:
        await commented.wait()
        await call.answer(400, {"error": {"message": "too long", "type": "BadRequestError", "code": 400}})

    async with broken_engine() as engine, running_gateway(tmp_path, **OFTEN) as cluster:
        engine.behave = refuse_late
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        stream = await cluster.client().chat.completions.create(**HELLO)  # the head has come
        commented.set()
        with pytest.raises(openai.APIError, match="too long"):
            async for _ in stream:
                pass


async def test_an_engine_that_does_not_stream_after_a_comment_is_said_to(
    tmp_path: Path, broken_engine: Engines
) -> None:
    commented = anyio.Event()

    async def answer_whole(call: Call) -> None:
        await commented.wait()
        await call.answer(200, {"object": "list", "data": []})

    async with broken_engine() as engine, running_gateway(tmp_path, **OFTEN) as cluster:
        engine.behave = answer_whole
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        stream = await cluster.client().chat.completions.create(**HELLO)
        commented.set()
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass
        assert caught.value.code == "engine_did_not_stream"


async def test_an_engine_that_refuses_in_time_is_answered_with_its_own_status(
    tmp_path: Path, broken_engine: Engines
) -> None:
    async def refuse(call: Call) -> None:
        await call.answer(400, {"error": {"message": "too long", "type": "BadRequestError", "code": 400}})

    async with broken_engine() as engine, running_gateway(tmp_path, **NEVER) as cluster:
        engine.behave = refuse
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        with pytest.raises(openai.BadRequestError, match="too long"):
            await cluster.client().chat.completions.create(**HELLO)


async def test_a_request_that_is_not_streamed_gets_one_document_and_no_comment(
    tmp_path: Path, broken_engine: Engines
) -> None:
    async def think(call: Call) -> None:
        await anyio.sleep(0.2)
        await call.answer(200, {"id": "c-1", "object": "chat.completion", "choices": []})

    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, **OFTEN) as cluster,
        cluster.http() as http,
    ):
        engine.behave = think
        await cluster.deploy(served(backend="vllm"))
        await cluster.report(replica("smol:vllm", address=engine.address))
        answer = await http.post("/v1/chat/completions", json=HELLO | {"stream": False})
        assert answer.json()["id"] == "c-1"


def test_a_cutter_knows_whether_it_has_given_out_half_an_event() -> None:
    cutter = EventCutter(limit=4)
    pieces = [b"data: long", b"er", b"!\n\nda"]
    given = [(cutter.feed(piece), cutter.midway) for piece in pieces]
    assert given == [(b"data: long", True), (b"", True), (b"er!\n\n", False)]
    assert cutter.rest() == b"da"
