"""Replicas that sleep: asked for over HTTP, given back when nobody uses them, woken by requests."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, served
from tests.gateway.raw_engine import Call

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import ReplicaState
from sllm_actors.gateway.routing.router import AGAIN
from sllm_actors.serving.messages import (
    ControlAnswer,
    Done,
    Refusal,
    RefusalKind,
    SleepInstance,
    WakeInstance,
    Withdrawn,
)

pytestmark = pytest.mark.anyio

ME = ReplicaId("smol:llamacpp", 1, 1, 1)
BODY = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}


def asleep(withdrawal: int = 1, **more: Any) -> Any:
    return replica(state=ReplicaState.ASLEEP, withdrawal=withdrawal, **more)


async def test_sleep_and_waking_are_asked_of_the_worker_and_its_answer_is_passed_on(
    cluster: PlayedCluster,
) -> None:
    await cluster.report(replica())
    worker = await cluster.nodes.probe("worker-1")
    http = cluster.http()
    asked: list[Any] = []

    async def ask(path: str, answer: ControlAnswer, **body: Any) -> Any:
        async def reply() -> None:
            asked.append(await worker.expect(object))
            worker.reply(answer)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reply)
            return await http.post(path, **body)

    accepted, refused = (
        Done('{"id":  "x"}', pending=True),
        Refusal(RefusalKind.CONFLICT, "cannot_sleep", "no"),
    )
    assert (await ask(f"/instances/{ME}/sleep", accepted)).text == accepted.document
    assert (await ask(f"/instances/{ME.key}/sleep", accepted, json={"level": 2})).status_code == 202
    answer = await ask(f"/instances/{ME}/wake_up", refused)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cannot_sleep")
    assert asked == [SleepInstance(ME.key, 1), SleepInstance(ME.key, 2), WakeInstance(ME.key)]
    for content in (b"{", b"[]", b'{"level": 3}', b'{"level": true}', b'{"level": "1"}'):
        assert (await http.post(f"/instances/{ME}/sleep", content=content)).status_code == 400
    for action in ("sleep", "wake_up"):
        assert (await http.post(f"/instances/nobody/{action}")).status_code == 404


async def test_a_replica_that_is_to_sleep_is_given_back_when_its_requests_have_ended(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def wait(call: Call) -> None:
        asked.set()
        await go_on.wait()
        await call.answer(200, {"choices": []})

    worker = await cluster.nodes.probe("worker-1")
    await cluster.deploy(served())
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        engine.behave = wait
        await cluster.report(replica(address=engine.address))
        tasks.start_soon(lambda: cluster.http().post("/v1/embeddings", json=BODY))
        await asked.wait()
        await cluster.report(asleep())
        await worker.expect_nothing()
        go_on.set()
        assert await worker.expect(Withdrawn) == Withdrawn("gateway-1", ME, 1)
    await cluster.report(asleep(2))
    assert await worker.expect(Withdrawn) == Withdrawn("gateway-1", ME, 2), "each sleep has a word of its own"


async def test_while_a_head_is_there_requests_leave_it_to_the_head_to_wake_a_replica(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    worker = await cluster.nodes.probe("worker-1")
    await cluster.deploy(served())
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        await cluster.report(asleep())
        await worker.expect(Withdrawn)
        worker.reply(None)
        tasks.start_soon(lambda: cluster.http().post("/v1/chat/completions", json=BODY))
        await worker.expect_nothing()
        await cluster.lose("head")
        assert await worker.expect(object) == WakeInstance(ME.key), "now nobody else does"
        worker.reply(Done("{}", pending=True))
        await cluster.report(replica(address=engine.address))
    assert len(engine.calls) == 1


@pytest.mark.slow
async def test_without_a_head_requests_wake_one_replica_and_are_served_by_it(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    worker = await cluster.nodes.probe("worker-1")
    await cluster.deploy(served())
    await cluster.lose("head")
    answers: list[int] = []

    async def ask() -> None:
        answers.append((await cluster.http().post("/v1/chat/completions", json=BODY)).status_code)

    async with broken_engine() as engine:
        await cluster.report(asleep(), asleep(number=2))
        for number in (1, 2):
            assert (await worker.expect(Withdrawn)).id.number == number
            worker.reply(None)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
            assert await worker.expect(object) == WakeInstance(ME.key)
            await worker.expect_nothing()
            worker.reply(Done("{}", pending=True))
            assert await worker.expect(object) == WakeInstance(ME.key), "told again while it sleeps on"
            assert answers == []
            await cluster.report(replica(address=engine.address), asleep(number=2))
    assert answers == [200] * 5


@pytest.mark.slow
async def test_a_sleep_that_is_over_is_not_ended_again(cluster: PlayedCluster) -> None:
    worker = await cluster.nodes.probe("worker-1")
    await cluster.deploy(served(hold_timeout=0.2))
    await cluster.lose("head")
    await cluster.report(asleep())
    await worker.expect(Withdrawn)
    worker.reply(None)
    assert (await cluster.http().post("/v1/chat/completions", json=BODY)).status_code == 503
    await worker.expect(WakeInstance)
    worker.reply(Done("{}", pending=True))
    await anyio.sleep(1.5 * AGAIN)
    await worker.expect_nothing()


@pytest.mark.slow
async def test_an_order_to_wake_that_was_lost_is_given_again(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    await cluster.deploy(served())
    await cluster.lose("head")
    lost: list[Any] = []

    def lose_the_first(message: Any) -> bool:
        if isinstance(message, WakeInstance) and not lost:
            lost.append(message)
            return True
        return False

    cluster.nodes.loses = lose_the_first
    worker = await cluster.nodes.probe("worker-1")
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        await cluster.report(asleep())
        await worker.expect(Withdrawn)
        worker.reply(None)
        tasks.start_soon(lambda: cluster.http().post("/v1/chat/completions", json=BODY))
        assert await worker.expect(object) == WakeInstance(ME.key)
        await cluster.report(replica(address=engine.address))
    assert lost == [WakeInstance(ME.key)]
    assert len(engine.calls) == 1


async def test_a_replica_sleeps_on_while_another_one_serves(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    worker = await cluster.nodes.probe("worker-1")
    await cluster.deploy(served())
    async with broken_engine() as engine:
        await cluster.report(asleep(), replica(address=engine.address, number=2))
        await worker.expect(Withdrawn)
        worker.reply(None)
        assert (await cluster.http().post("/v1/chat/completions", json=BODY)).status_code == 200
        await worker.expect_nothing()
