"""The journal over HTTP: pages, and following it over everything that may happen to the head."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from tests.serving.kit import until

from sllm_actors.gateway.api import events as module
from sllm_actors.serving.messages import ControlAnswer, Done, Refusal, RefusalKind
from sllm_actors.serving.views.messages import AwaitEvents, DescribeEvents
from sllm_actors.testing import TestProbe

from .kit import PlayedCluster
from .played_head import LOCAL

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]


def entry(number: int) -> dict[str, Any]:
    return {"number": number, "at": 1.5, "kind": "node.linked", "subject": "w", "sentence": "w is\nlinked"}


def page(*numbers: int, last: int, more: bool = False) -> Done:
    following = str(last) if more else None
    document = {"events": [entry(number) for number in numbers], "last": last, "next": following}
    return Done(json.dumps(document), next=following or "")


@asynccontextmanager
async def following(
    cluster: PlayedCluster, query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[str]]:
    """Follow the journal; what is given are the lines that come."""
    path = f"/events?follow=true{query}"
    async with (  # the connection is closed too: over HTTP/2, this client does not say that it left a stream
        cluster.http() as http,
        http.stream("GET", path, headers=headers or {}, timeout=60) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        yield response.aiter_lines()


async def answered(head: TestProbe, answer: ControlAnswer) -> Any:
    asked = await head.expect(object)
    head.reply(answer)
    return asked


async def data(lines: AsyncIterator[str]) -> dict[str, Any]:
    """Return the entry of the next event, which is numbered by it."""
    number = ""
    async for line in lines:
        if line.startswith("id: "):
            number = line.removeprefix("id: ")
        if line.startswith("data: "):
            found: dict[str, Any] = json.loads(line.removeprefix("data: "))
            assert str(found["number"]) == number
            return found
    raise AssertionError("the stream has ended")


async def test_a_page_is_asked_of_the_head_with_its_filters(cluster: PlayedCluster, head: TestProbe) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answered, head, page(7, last=7))
        response = await cluster.http().get(
            "/events?limit=5&after=3&subject=m:vllm&kind=replica&follow=false"
        )
    assert response.json() == {"events": [entry(7)], "last": 7, "next": None}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("follow=yes", "follow"),
        ("after=-1", "after"),
        ("after=now", "after"),
        ("limit=x", "limit"),
        ("x=1", "x"),
    ],
)
async def test_a_wrong_parameter_is_named(cluster: PlayedCluster, query: str, param: str) -> None:
    response = await cluster.http().get(f"/events?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.slow
async def test_what_follows_comes_with_numbers_and_goes_on_behind_the_last_one(
    cluster: PlayedCluster, head: TestProbe
) -> None:
    asked: list[Any] = []

    async def answer() -> None:
        asked.append(await answered(head, page(5, last=6)))
        asked.append(await answered(head, page(8, 9, last=9, more=True)))
        asked.append(await answered(head, page(12, last=20)))
        asked.append(await head.expect(object))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        async with following(cluster, "&limit=2&subject=w") as lines:
            assert [(await data(lines))["number"] for _ in range(4)] == [5, 8, 9, 12]
            await until(lambda: len(asked) == 4)
    first = DescribeEvents(limit=2, subject="w")
    assert asked[0] == first
    assert [(each.events.after, each.seconds) for each in asked[1:]] == [
        (after, module.WAIT) for after in (6, 9, 20)
    ]


async def test_a_browser_that_reconnects_goes_on_where_it_was(
    cluster: PlayedCluster, head: TestProbe
) -> None:
    asked: list[Any] = []

    async def answer() -> None:
        asked.append(await answered(head, page(42, last=42)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        async with following(cluster, "&after=3", {"Last-Event-ID": "41"}) as lines:
            assert (await data(lines))["number"] == 42
    assert asked == [DescribeEvents(after=41)]


@pytest.mark.slow
async def test_a_head_that_is_away_for_a_while_is_asked_again_from_the_same_place(
    cluster: PlayedCluster, head: TestProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    asked: list[Any] = []

    async def answer() -> None:
        await answered(head, page(5, last=5))
        await answered(head, Refusal(RefusalKind.UNAVAILABLE, "store_unavailable", "the disk\nis gone"))
        cluster.head = None
        asked.append(await answered(head, page(last=5)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        async with following(cluster) as lines:
            assert (await data(lines))["number"] == 5
            async for line in lines:
                if line == ": the disk is gone":
                    break
            async for line in lines:
                if "no link" in line:
                    break
            cluster.head = LOCAL
            await until(lambda: asked)
    assert asked == [AwaitEvents(DescribeEvents(after=5), module.WAIT)]


async def test_a_head_that_is_away_at_the_begin_is_an_error(cluster: PlayedCluster) -> None:
    response = await cluster.http().get("/events?follow=true")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "head_unavailable")


async def test_who_follows_in_silence_hears_that_the_connection_lives(
    cluster: PlayedCluster, head: TestProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.0)

    async def answer() -> None:
        while True:
            await answered(head, page(last=5))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        async with following(cluster) as lines:
            async for line in lines:
                if line == ":":
                    break
        tasks.cancel_scope.cancel()


async def test_one_follower_too_many_is_refused_and_one_that_leaves_makes_room(
    cluster: PlayedCluster, head: TestProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FOLLOWERS", 1)
    http = cluster.http()

    async def refused() -> httpx2.Response | None:
        async with http.stream("GET", "/events?follow=true") as response:
            if response.status_code == 200:
                return None
            await response.aread()
            return response

    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            while True:
                await answered(head, page(last=5))

        tasks.start_soon(answer)
        async with following(cluster) as lines:
            await anext(lines)
            response = await refused()
            assert response is not None
            assert (response.status_code, response.json()["error"]["code"]) == (503, "too_many_followers")
        for _ in range(400):
            if await refused() is None:
                break
            await anyio.sleep(0.05)
        else:
            raise AssertionError("nobody follows, and there is no room")
        tasks.cancel_scope.cancel()


async def test_a_gateway_that_stops_lets_followers_go(cluster: PlayedCluster, head: TestProbe) -> None:
    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            while True:
                await answered(head, page(last=5))

        tasks.start_soon(answer)
        async with following(cluster) as lines:
            await anext(lines)
            cluster.shutdown.set()
            with anyio.fail_after(60):
                async for _ in lines:
                    pass
        tasks.cancel_scope.cancel()
