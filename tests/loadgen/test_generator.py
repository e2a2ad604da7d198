"""The generator before a real server: open and closed loops, and every way in which a request can end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from attrs import evolve

from sllm_actors.loadgen.client.encoding import Encoding
from sllm_actors.loadgen.client.target import Dialler, LoadTarget
from sllm_actors.loadgen.figures.figures import Figures
from sllm_actors.loadgen.figures.result import RequestResult
from sllm_actors.loadgen.generator import Generator, LoadPlan
from sllm_actors.loadgen.work.request import ChatMessage, LoadRequest

from .server import ScriptedServer, scripted

pytestmark = pytest.mark.anyio

HANG_GUARD = 60.0


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted() as made:
        yield made


def asking(model: str = "m", count: int = 1, *, at: float = 0.0, hangs_up: bool = False) -> list[LoadRequest]:
    message = (ChatMessage("user", "Hi"),)
    return [LoadRequest(at, model, message, 4, hangs_up=hangs_up) for _ in range(count)]


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_GUARD):
        while not holds():  # noqa: ASYNC110 - what it asks is in another part, which tells nobody
            await asyncio.sleep(0.01)


class Run:
    """One run of the generator, and all its results."""

    def __init__(
        self,
        target: LoadTarget,
        requests: Iterable[LoadRequest],
        *,
        clients: int | None = None,
        duration: float | None = None,
        connections: int = 100,
        timeout: float = HANG_GUARD,
        streamed: bool = True,
        think: float = 0.0,
    ) -> None:
        self.results: list[RequestResult] = []
        self.figures = Figures(None, ("m",))
        self.dialler = Dialler(target)
        self.generator = Generator(
            LoadPlan(clients, duration, connections, timeout, hang_up_after=0.0, think=think),
            self.dialler,
            Encoding(target.authority, "", "", "chat", streamed, {}),
            iter(requests),
            self.figures,
            self.results.append,
        )

    async def __call__(self) -> list[RequestResult]:
        async with asyncio.timeout(HANG_GUARD):
            await self.dialler.look_up()
            await self.generator.run()
        assert self.generator.under_way == 0
        return self.results

    async def one(self) -> RequestResult:
        (only,) = await self()
        return only


async def test_a_stream_is_timed_and_counted(server: ScriptedServer) -> None:
    found = await Run(server.target, asking()).one()
    assert (found.good, found.status, found.output_tokens, len(found.gaps)) == (True, 200, 4, 3)
    assert found.first is not None
    assert 0 <= found.due <= found.begun <= found.sent <= found.first <= found.last <= found.ended
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Hi"}]


async def test_an_answer_without_a_stream_has_the_usage_of_the_server(server: ScriptedServer) -> None:
    found = await Run(server.target, asking(), streamed=False).one()
    assert (found.good, found.first, found.input_tokens, found.output_tokens) == (True, None, 5, 3)


async def test_an_open_loop_does_not_wait_for_answers(server: ScriptedServer) -> None:
    run = Run(server.target, asking("waits", 50), streamed=False)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        await eventually(lambda: server.open_now == 50)
        assert run.generator.under_way == 50
        server.go.set()
    assert all(each.good for each in running.result())
    assert server.most == 50


async def test_requests_go_out_in_their_order_and_never_early(server: ScriptedServer) -> None:
    requests = [each for at in (0.0, 0.05, 0.0501, 0.2) for each in asking(at=at)]
    found = sorted(await Run(server.target, requests)(), key=lambda each: each.due)
    assert [round(each.due, 4) for each in found] == [0.0, 0.05, 0.0501, 0.2]
    assert all(each.begun >= each.due for each in found)


async def test_a_closed_loop_has_one_request_per_client_under_way(server: ScriptedServer) -> None:
    run = Run(server.target, asking("waits", 40), clients=3, streamed=False)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        await eventually(lambda: server.open_now == 3)
        assert run.generator.under_way == 3
        server.go.set()
    found = running.result()
    assert len(found) == 40
    assert (server.most, server.connections) == (3, 3)
    assert all(each.due == each.begun for each in found)


async def test_a_closed_loop_ends_with_its_time(server: ScriptedServer) -> None:
    found = await Run(server.target, iter(lambda: asking()[0], None), clients=2, duration=0.2)()
    assert found
    late = [each for each in found if each.due >= 0.2]
    assert len(late) <= 2, "each client may have looked at the clock just before the end, and once only"


async def test_connections_are_used_again(server: ScriptedServer) -> None:
    await Run(server.target, asking(count=30), clients=1)()
    assert server.connections == 1


async def test_a_connection_that_the_server_closes_is_replaced(server: ScriptedServer) -> None:
    found = await Run(server.target, asking("closes after", 5), clients=1, streamed=False)()
    assert [each.good for each in found] == [True] * 5
    assert server.connections == 5


async def test_requests_wait_for_a_connection_and_that_counts(server: ScriptedServer) -> None:
    run = Run(server.target, asking("waits", 5), connections=2, streamed=False)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        await eventually(lambda: server.open_now == 2)
        server.go.set()
    assert all(each.good for each in running.result())
    assert (server.most, server.connections) == (2, 2)
    load = run.generator.load()
    assert load.waited == 3
    assert any("--max-connections" in each for each in load.warnings())


@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("refuses", "HTTP 429 too_many", 429),
        ("closes", "connection lost", 0),
        ("garbles", "connection lost", 0),
        ("stops", "stream cut short", 200),
    ],
)
async def test_a_failure_is_told_by_its_kind(
    server: ScriptedServer, model: str, error: str, status: int
) -> None:
    found = await Run(server.target, asking(model)).one()
    assert (found.good, found.error, found.status) == (False, error, status)


async def test_a_server_that_is_away_fails_every_request_with_the_reason() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = LoadTarget("127.0.0.1", unused.getsockname()[1], secure=False, base="", key="")
        found = await Run(target, asking(count=3))()
    assert {(each.error, each.reason) for each in found} == {("no connection", "connection refused")}


async def test_a_client_of_a_closed_loop_without_a_connection_tries_again() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = LoadTarget("127.0.0.1", unused.getsockname()[1], secure=False, base="", key="")
        found = await Run(target, asking(count=3), clients=1)()
    assert [each.error for each in found] == ["no connection"] * 3


async def test_a_client_that_hangs_up_leaves_the_server(server: ScriptedServer) -> None:
    found = await Run(server.target, asking("waits", hangs_up=True), streamed=False).one()
    assert (found.hung_up, found.good, found.error) == (True, False, "")


async def test_an_answer_that_takes_too_long_is_given_up(server: ScriptedServer) -> None:
    found = await Run(server.target, asking("waits"), timeout=0.1, streamed=False).one()
    assert (found.error, found.reason) == ("timed out", "no whole answer within 0.1 s")


async def test_a_run_that_is_stopped_keeps_what_there_is(server: ScriptedServer) -> None:
    run = Run(server.target, [*asking(), *asking("waits", 2), *asking(at=3600.0)], streamed=False)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        await eventually(lambda: run.figures.answered == 1 and server.open_now == 2)
        run.generator.stop()
    found = running.result()
    assert [each.good for each in found] == [True, False, False]
    assert [each.interrupted for each in found] == [False, True, True]


async def test_a_run_that_is_cancelled_leaves_nothing(server: ScriptedServer) -> None:
    run = Run(server.target, asking("waits", 2), streamed=False)
    running = asyncio.ensure_future(run())
    await eventually(lambda: server.open_now == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: not server.open_now)


async def test_the_turns_of_a_chat_follow_their_answers(server: ScriptedServer) -> None:
    (first,) = asking()
    chat = evolve(first, further=("Again", "More"))
    found = await Run(server.target, [chat, chat])()
    assert [each.good for each in found] == [True] * 6
    last = [each["messages"] for each in server.bodies if len(each["messages"]) == 5]
    assert [[each["content"] for each in said] for said in last] == [
        ["Hi", "aaaa", "Again", "aaaa", "More"]
    ] * 2


async def test_a_chat_ends_with_an_answer_that_fails_and_with_the_time(server: ScriptedServer) -> None:
    (refused,), (late,) = asking("refuses"), asking()
    found = await Run(server.target, [evolve(refused, further=("Again",))])()
    assert [each.good for each in found] == [False]
    found = await Run(server.target, [evolve(late, further=("Again",))], duration=0.0)()
    assert [each.good for each in found] == [True]


async def test_a_client_that_thinks_is_not_waited_for_when_the_run_is_stopped(server: ScriptedServer) -> None:
    (first,) = asking()
    run = Run(server.target, [evolve(first, further=("Again",))], think=3600.0)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run())
        await eventually(lambda: run.figures.answered == 1)
        assert not running.done()
        run.generator.stop()
    assert len(running.result()) == 1


async def test_nothing_to_send_ends_at_once(server: ScriptedServer) -> None:
    assert await Run(server.target, [])() == []
    assert await Run(server.target, [], clients=4)() == []


async def test_a_name_is_looked_up() -> None:
    async with scripted() as server:
        found = await Run(LoadTarget("localhost", server.port, False, "", ""), asking()).one()
    assert found.good
