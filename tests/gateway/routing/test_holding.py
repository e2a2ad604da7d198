"""Requests that wait for a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served

from sllm_actors.engines.messages import ReplicaState

pytestmark = pytest.mark.anyio

HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}


async def ask(cluster: PlayedCluster, answers: list[Any], **more: Any) -> None:
    try:
        answers.append(await cluster.client().chat.completions.create(**HELLO, **more))
    except openai.APIError as error:
        answers.append(error)


async def test_a_held_request_is_answered_when_a_replica_is_ready(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    answers: list[Any] = []
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        await cluster.deploy(served())
        for _ in range(3):
            tasks.start_soon(ask, cluster, answers)
        await anyio.sleep(0.1)
        await cluster.report(replica(state=ReplicaState.STARTING))
        assert not answers
        await cluster.report(replica(address=engine.address))
    assert [answer.choices[0].message.content for answer in answers] == ["hello"] * 3


@pytest.mark.slow
async def test_a_full_queue_refuses_with_429(cluster: PlayedCluster) -> None:
    answers: list[Any] = []
    async with anyio.create_task_group() as tasks:
        await cluster.deploy(served(hold_limit=2, hold_timeout=0.6))
        for _ in range(3):
            tasks.start_soon(ask, cluster, answers)
    first, *rest = answers
    assert isinstance(first, openai.RateLimitError)
    assert first.code == "hold_queue_full"
    assert int(first.response.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in rest] == [503, 503]
    assert all(int(answer.response.headers["retry-after"]) >= 1 for answer in rest)


@pytest.mark.slow
async def test_a_client_that_leaves_makes_room_at_once(cluster: PlayedCluster) -> None:
    await cluster.deploy(served(hold_limit=1, hold_timeout=0.5))
    with anyio.move_on_after(0.2):
        await ask(cluster, [])
    answers: list[Any] = []
    await ask(cluster, answers)
    assert answers[0].status_code == 503, "not 429"


async def test_failed_replicas_fail_requests_fast_and_say_why(cluster: PlayedCluster) -> None:
    answers: list[Any] = []
    async with anyio.create_task_group() as tasks:
        await cluster.deploy(served())
        tasks.start_soon(ask, cluster, answers)
        await anyio.sleep(0.1)
        await cluster.report(
            replica(state=ReplicaState.FAILED, reason="the model's file is not there", retry_in=20.0)
        )
    await ask(cluster, answers)
    for error in answers:
        assert error.status_code == 503
        assert "the model's file is not there" in error.message
        assert error.response.headers["retry-after"] == "20"


async def test_a_deployment_without_a_place_fails_requests_until_a_replica_comes(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    answers: list[Any] = []
    async with broken_engine() as engine:
        async with anyio.create_task_group() as tasks:
            await cluster.deploy(served())
            tasks.start_soon(ask, cluster, answers)
            await anyio.sleep(0.1)
            await cluster.deploy(served(no_place="no worker has 2 free GPUs for it"))
        await ask(cluster, answers)
        for error in answers:
            assert (error.status_code, error.code) == (503, "no_place")
            assert error.message.endswith("smol:llamacpp does not run: no worker has 2 free GPUs for it")
            assert int(error.response.headers["retry-after"]) >= 1
        async with anyio.create_task_group() as tasks:
            await cluster.report(replica(state=ReplicaState.STARTING))
            tasks.start_soon(ask, cluster, answers)
            await anyio.sleep(0.1)
            await cluster.report(replica(address=engine.address))
    assert answers[-1].choices[0].message.content == "hello"


async def test_a_deleted_deployment_lets_go_of_what_waits_for_it(cluster: PlayedCluster) -> None:
    answers: list[Any] = []
    async with anyio.create_task_group() as tasks:
        await cluster.deploy(served())
        tasks.start_soon(ask, cluster, answers)
        await anyio.sleep(0.1)
        await cluster.deploy()
    assert isinstance(answers[0], openai.NotFoundError)


async def test_a_lost_workers_replicas_get_nothing_any_more(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine, broken_engine() as other:
        await cluster.deploy(served(hold_timeout=0.3))
        await cluster.report(replica(address=engine.address), node="worker-1")
        await cluster.report(replica(address=other.address, number=2), node="worker-2")
        await cluster.lose("worker-1")
        for _ in range(5):
            await cluster.client().chat.completions.create(**HELLO)
        assert not engine.calls
        assert len(other.calls) == 5


async def test_a_held_stream_hears_comments_and_then_its_answer(
    tmp_path: Path, broken_engine: Engines
) -> None:
    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, keep_alive_interval=0.05) as cluster,
        cluster.http() as http,
    ):
        await cluster.deploy(served())
        text = ""
        async with http.stream("POST", "/v1/chat/completions", json=HELLO | {"stream": True}) as answer:
            assert answer.status_code == 200
            async for data in answer.aiter_text():
                text += data
                if text.count(": waiting: place 1 of 1\n\n") == 2:
                    await cluster.report(replica(address=engine.address))
    assert text.count(": waiting: place 1 of 1") >= 2
    assert text.endswith("data: [DONE]\n\n")


async def test_a_held_stream_that_fails_after_its_head_ends_with_an_error_event(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, keep_alive_interval=0.05) as cluster:
        await cluster.deploy(served(hold_timeout=0.3))
        stream = await cluster.client().chat.completions.create(**HELLO, stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass
        assert caught.value.code == "cold_start_timeout"


async def test_an_engine_that_refuses_a_stream_whose_head_is_sent_says_so_in_an_event(
    tmp_path: Path, broken_engine: Engines
) -> None:
    async def refuse(call: Any) -> None:
        await call.answer(400, {"error": {"message": "too long", "type": "BadRequestError", "code": 400}})

    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, keep_alive_interval=0.05) as cluster,
    ):
        engine.behave = refuse
        await cluster.deploy(served())
        stream = await cluster.client().chat.completions.create(**HELLO, stream=True)
        await cluster.report(replica(address=engine.address))
        with pytest.raises(openai.APIError, match="too long"):
            async for _ in stream:
                pass
