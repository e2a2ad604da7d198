"""Which answers are passed on and which requests go elsewhere, when an engine or its worker is in doubt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call, RawEngine, say_hello

from sllm_actors.engines.messages import ConfirmEngine, EngineConfirmed, ReplicaState

pytestmark = pytest.mark.anyio

SMOL = "smol:vllm"
HELLO: Any = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}
BROKEN = {"error": {"message": "EngineCore is dead", "type": "InternalServerError", "code": 500}}
SERVING = EngineConfirmed(serving=True)
DIED = EngineConfirmed(died=True)


def fails(status: int) -> Callable[[Call], Awaitable[None]]:
    async def fail(call: Call) -> None:
        await call.answer(status, BROKEN)

    return fail


async def closes_at_once(call: Call) -> None:
    pass


async def deploy(cluster: PlayedCluster, one: RawEngine) -> None:
    """Let one replica be ready, on a worker of its own."""
    await cluster.deploy(served(backend="vllm"))
    await cluster.report(replica(SMOL, address=local(one)))


async def join(cluster: PlayedCluster, two: RawEngine) -> None:
    """Let another worker have a ready replica, too."""
    await cluster.report(replica(SMOL, address=local(two), number=2), node="worker-2")


def local(engine: RawEngine) -> str:
    return f"loopback:{engine.port}"


async def ask(cluster: PlayedCluster, **more: Any) -> httpx2.Response:
    return await cluster.http().post("/v1/chat/completions", json=HELLO | more)


async def confirm(cluster: PlayedCluster, answer: EngineConfirmed | None, *, times: int = 1) -> None:
    """Answer a gateway's questions about engines, as their worker; None: do not answer."""
    worker = await cluster.nodes.probe("worker-1")
    for _ in range(times):
        await worker.expect(ConfirmEngine)
        if answer is not None:
            worker.reply(answer)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_is_the_answer_of_an_engine_that_serves(
    cluster: PlayedCluster, broken_engine: Engines, status: int
) -> None:
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        engine.behave = fails(status)
        await deploy(cluster, engine)
        tasks.start_soon(confirm, cluster, SERVING)
        answer = await ask(cluster)
    assert (answer.status_code, answer.json()) == (status, BROKEN)


@pytest.mark.slow
@pytest.mark.parametrize("word", [DIED, EngineConfirmed(), None], ids=["died", "ill", "silent"])
async def test_an_error_of_an_engine_that_does_not_serve_is_no_answer(
    cluster: PlayedCluster, broken_engine: Engines, word: EngineConfirmed | None
) -> None:
    async with broken_engine() as broken, broken_engine() as sound, anyio.create_task_group() as tasks:
        broken.behave = fails(500)
        await deploy(cluster, broken)
        tasks.start_soon(confirm, cluster, word)
        async with anyio.create_task_group() as asking:
            answers: list[httpx2.Response] = []

            async def one() -> None:
                answers.append(await ask(cluster))

            asking.start_soon(one)
            await broken.first_call()
            await join(cluster, sound)
    assert answers[0].status_code == 200, answers[0].text
    assert len(broken.calls) == len(sound.calls) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 501, 504])
async def test_any_other_error_is_passed_on_without_a_question(
    cluster: PlayedCluster, broken_engine: Engines, status: int
) -> None:
    async with broken_engine() as engine:
        engine.behave = fails(status)
        await deploy(cluster, engine)
        assert (await ask(cluster)).status_code == status
    assert cluster.nodes.heard == []


async def test_an_error_after_comments_alone_is_no_answer_either(
    tmp_path: Path, broken_engine: Engines
) -> None:
    waited = anyio.Event()

    async def fails_late(call: Call) -> None:
        await waited.wait()
        await call.answer(500, BROKEN)

    async with (
        broken_engine() as broken,
        broken_engine() as sound,
        running_gateway(tmp_path, keep_alive_interval=0.05) as cluster,
        anyio.create_task_group() as tasks,
        cluster.http() as http,
    ):
        broken.behave = fails_late
        await deploy(cluster, broken)
        tasks.start_soon(confirm, cluster, DIED)
        text = ""
        async with http.stream("POST", "/v1/chat/completions", json=HELLO | {"stream": True}) as answer:
            async for data in answer.aiter_text():
                text += data
                if not waited.is_set():
                    waited.set()
                    await join(cluster, sound)
    assert text.startswith(": keep-alive")
    assert "error" not in text
    assert text.endswith("data: [DONE]\n\n")


async def test_the_error_of_an_engine_that_serves_ends_a_stream_that_began_with_comments(
    tmp_path: Path, broken_engine: Engines
) -> None:
    waited = anyio.Event()

    async def fails_late(call: Call) -> None:
        await waited.wait()
        await call.answer(500, BROKEN)

    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, keep_alive_interval=0.05) as cluster,
        anyio.create_task_group() as tasks,
        cluster.http() as http,
    ):
        engine.behave = fails_late
        await deploy(cluster, engine)
        tasks.start_soon(confirm, cluster, SERVING)
        text = ""
        async with http.stream("POST", "/v1/chat/completions", json=HELLO | {"stream": True}) as answer:
            async for data in answer.aiter_text():
                text += data
                waited.set()
    assert "EngineCore is dead" in text
    assert "[DONE]" not in text


async def test_a_request_that_two_engines_died_of_is_refused_also_when_it_comes_again(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with (
        broken_engine() as one,
        broken_engine() as two,
        broken_engine() as three,
        anyio.create_task_group() as tasks,
    ):
        for engine in (one, two, three):
            engine.behave = closes_at_once
        await cluster.deploy(served(backend="vllm"))
        engines = enumerate((one, two, three), 1)
        await cluster.report(*(replica(SMOL, address=local(each), number=n) for n, each in engines))
        tasks.start_soon(lambda: confirm(cluster, DIED, times=2))
        for _ in range(2):
            answer = await ask(cluster)
            assert answer.status_code == 502, answer.text
            assert answer.json()["error"]["code"] == "request_breaks_engines"
            assert answer.headers["x-should-retry"] == "false"
        assert len(one.calls) + len(two.calls) + len(three.calls) == 2

        # Another request is tried, and not on the dead ones, although their worker still calls them ready.
        for engine in (one, two, three):
            engine.behave = say_hello
        assert (await ask(cluster, user="somebody else")).status_code == 200
        assert [len(engine.calls) for engine in (one, two, three)] == [1, 1, 1]


async def test_a_request_whose_worker_is_lost_goes_to_another_replica(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async def hangs(call: Call) -> None:
        await call.hung_up.wait()

    async with broken_engine() as frozen, broken_engine() as sound, anyio.create_task_group() as tasks:
        frozen.behave = hangs
        await deploy(cluster, frozen)
        answers: list[httpx2.Response] = []

        async def one() -> None:
            answers.append(await ask(cluster))

        tasks.start_soon(one)
        call = await frozen.first_call()
        await join(cluster, sound)
        await cluster.lose("worker-1")
        with anyio.fail_after(60):
            await call.hung_up.wait()
    assert answers[0].status_code == 200


async def test_an_answer_goes_on_after_its_worker_is_lost(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    lost = anyio.Event()

    async def streams(call: Call) -> None:
        await call.begin_events()
        await call.text("hel")
        await lost.wait()
        await call.text("lo", "stop")
        await call.end()

    async with broken_engine() as engine, cluster.http() as http:
        engine.behave = streams
        await deploy(cluster, engine)
        text = ""
        async with http.stream("POST", "/v1/chat/completions", json=HELLO | {"stream": True}) as answer:
            async for data in answer.aiter_text():
                text += data
                if not lost.is_set():
                    await cluster.lose("worker-1")
                    lost.set()
    assert text.endswith("data: [DONE]\n\n")


async def test_an_engine_that_fails_under_a_request_is_reported_to_the_head_with_it(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as broken, broken_engine() as again, anyio.create_task_group() as tasks:
        broken.behave = closes_at_once
        await deploy(cluster, broken)
        tasks.start_soon(ask, cluster)
        await broken.first_call()
        killed = replica(SMOL, ReplicaState.STARTING, exit_status="signal SIGKILL")
        await cluster.report(killed)
        await cluster.report(replica(SMOL, address=local(again), attempt=2, exit_status="signal SIGKILL"))
    (told,) = [said for node, said in cluster.nodes.heard if node == "head"]
    assert (told.id, len(told.digests), told.complete) == (killed.id, 1, True)
