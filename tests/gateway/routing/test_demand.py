"""What the head hears of what clients want."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import anyio
import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, served
from tests.gateway.raw_engine import Call

from sllm_actors.gateway.routing import actor, balancer
from sllm_actors.serving.messages import GATEWAY, Demand
from sllm_actors.serving.streams import DemandDifference
from sllm_actors.transport import PeerUp

pytestmark = pytest.mark.anyio

SMOL = "smol:llamacpp"


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def ask(cluster: PlayedCluster, model: str = "smol", **more: Any) -> None:
    await cluster.http().post("/v1/embeddings", json={"model": model, **more})


def uses_told(cluster: PlayedCluster) -> int:
    """Return how many requests the head was told of in all."""
    total, entries = 0, dict[str, int]()
    for changes in cluster.nodes.head.told:
        for put in changes.put:
            total += put.uses - entries.get(put.deployment, 0)
            entries[put.deployment] = put.uses
        for name in changes.removed:
            entries.pop(name, None)
    return total


async def test_the_head_hears_of_what_is_held_and_in_flight_until_nothing_is(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    go_on = anyio.Event()

    async def wait(call: Call) -> None:
        await go_on.wait()
        await call.answer(200, {"data": []})

    await cluster.deploy(served())
    async with broken_engine() as engine, anyio.create_task_group() as tasks:
        engine.behave = wait
        for _ in range(3):
            tasks.start_soon(ask, cluster)
        await until(lambda: cluster.nodes.head.demands == {SMOL: Demand(SMOL, 3, 0, 0, 3)})
        await cluster.report(replica(address=engine.address, concurrency=2))
        await until(lambda: cluster.nodes.head.demands == {SMOL: Demand(SMOL, 1, 2, 1, 3)})
        go_on.set()
        await until(lambda: cluster.nodes.head.demands == {})


@pytest.mark.slow
async def test_changes_that_come_together_go_together(cluster: PlayedCluster, broken_engine: Engines) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        before = cluster.nodes.head.demand_messages
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(ask, cluster)
        await until(lambda: cluster.nodes.head.demands == {})
        assert cluster.nodes.head.demand_messages - before < 20, "of 80 changes"


@pytest.mark.slow
async def test_another_head_and_one_that_missed_something_hear_of_all_that_there_is(
    cluster: PlayedCluster,
) -> None:
    expected = {SMOL: Demand(SMOL, 1, 0, 0, 1)}
    await cluster.deploy(served())
    lost: list[Any] = []

    def lose(message: Any) -> bool:
        if isinstance(message, DemandDifference):
            lost.append(message)
            return True
        return False

    cluster.nodes.loses = lose
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, cluster)
        await until(lambda: lost)
        cluster.nodes.loses = lambda _: False
        await until(lambda: cluster.nodes.head.demands == expected)
        await cluster.lose("head")
        cluster.nodes.begin_head().serve([served()])
        cluster.nodes.link("head", "head", heard=False)
        await until(lambda: cluster.nodes.head.demands == expected)
        before = cluster.nodes.head.follows
        restarts = cluster.system.statistics().restarts
        cluster.tell(PeerUp(None))  # type: ignore[arg-type]  # a bug
        await until(lambda: cluster.system.statistics().restarts > restarts)
        await until(lambda: cluster.system.whereis(GATEWAY))
        await until(lambda: cluster.nodes.head.follows not in (None, before))
        assert cluster.nodes.head.demands == {SMOL: Demand(SMOL, 1)}, "none has begun since"
        tasks.cancel_scope.cancel()
    await until(lambda: cluster.nodes.head.demands == {})


@pytest.mark.slow
async def test_the_head_hears_of_requests_that_begin_and_end_between_two_reports(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        for number in (1, 2, 3):
            await ask(cluster)
            await ask(cluster)
            await until(lambda: uses_told(cluster) == 2 * number)  # noqa: B023
            await until(lambda: cluster.nodes.head.demands == {})  # idle time begins with this


async def test_a_first_request_that_waits_is_told_at_once_and_with_it_all_that_has_changed(
    cluster: PlayedCluster, broken_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "REPORT_DELAY", 3600.0)
    monkeypatch.setattr(balancer, "REST_PAUSE", inf)
    async with broken_engine() as engine:
        await cluster.deploy(served(), served("other"))
        await cluster.report(replica(address=engine.address))
        await until(lambda: cluster.nodes.head.follows is not None)  # or it would ask for a page meanwhile
        await ask(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(ask, cluster, model="other"))
            await until(lambda: cluster.nodes.head.told)
            (first,) = cluster.nodes.head.told[:1]
            assert {each.deployment: (each.held, each.uses) for each in first.put} == {
                SMOL: (0, 1),
                "other:llamacpp": (1, 1),
            }
            tasks.cancel_scope.cancel()


async def test_the_end_of_the_last_request_is_told_at_once(
    cluster: PlayedCluster, broken_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "REPORT_DELAY", 3600.0)
    async with broken_engine() as engine:
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        await ask(cluster)
        await until(lambda: cluster.nodes.head.told)
        first = cluster.nodes.head.told[0]
        assert [(each.deployment, each.in_flight, each.uses) for each in first.put] == [(SMOL, 0, 1)]


@pytest.mark.slow
async def test_the_head_hears_what_the_last_request_wishes_of_the_keep_alive_and_no_engine_does(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as engine:
        await cluster.deploy(served())
        await cluster.report(replica(address=engine.address))
        number = 0
        for wish, seconds in (("1h30m", 5400.0), (0, 0.0), (-7, -1.0), (None, None)):
            before, number = len(cluster.nodes.head.told), number + 2
            await ask(cluster, keep_alive=wish)
            await ask(cluster)
            assert engine.calls[-1].document == engine.calls[-2].document == {"model": "smol"}
            await until(lambda: uses_told(cluster) == number)  # noqa: B023
            await until(lambda: cluster.nodes.head.demands == {})
            puts = [put for each in cluster.nodes.head.told[before:] for put in each.put]
            assert {put.keep_alive for put in puts} - {None} == {seconds} - {None}
        refused = await cluster.http().post("/v1/embeddings", json={"model": "smol", "keep_alive": "soon"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "keep_alive")
