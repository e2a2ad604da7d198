"""Many requests that meet one broken engine are one question to its worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup
from attrs import define, field

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed
from sllm_actors.gateway.path.confirmations import Confirmations

pytestmark = pytest.mark.anyio

ONE, TWO = (ReplicaId("m:vllm", 1, number, number, "uid") for number in (1, 2))
SERVING = EngineConfirmed(serving=True)
DIED = EngineConfirmed(died=True, reason="killed")
Answers = Mapping[ReplicaId, EngineConfirmed]


@define
class Workers:
    """Answer when a test says so, in the order in which they were asked about one engine."""

    asked: list[ReplicaId] = field(factory=list)
    died: list[ReplicaId] = field(factory=list)
    heard: list[tuple[int, Answers]] = field(factory=list)
    _tasks: TaskGroup | None = None
    _answers: dict[ReplicaId, EngineConfirmed | None] = field(factory=dict)
    _may_answer: dict[ReplicaId, anyio.Event] = field(factory=dict)
    questions: Confirmations = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.questions = Confirmations(self.ask, self.start, self.died.append)

    def start(self, task: object) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(task)  # type: ignore[arg-type]

    async def ask(self, replica: ReplicaId) -> EngineConfirmed | None:
        self.asked.append(replica)
        event = self._may_answer[replica] = anyio.Event()
        await event.wait()
        return self._answers[replica]

    async def answer(self, replica: ReplicaId, answer: EngineConfirmed | None) -> None:
        self._answers[replica] = answer
        self._may_answer[replica].set()
        await anyio.wait_all_tasks_blocked()

    async def confirm(self, request: int, *replicas: ReplicaId) -> None:
        self.questions.confirm(replicas, lambda answers: self.heard.append((request, dict(answers))))
        await anyio.wait_all_tasks_blocked()


@asynccontextmanager
async def some_workers() -> AsyncIterator[Workers]:
    async with anyio.create_task_group() as tasks:
        yield Workers(tasks=tasks)


async def test_requests_that_wait_for_one_engine_all_hear_that_it_does_not_serve() -> None:
    async with some_workers() as workers:
        for request in range(50):
            await workers.confirm(request, ONE)
        await workers.answer(ONE, DIED)

        assert workers.asked == [ONE]
        assert workers.heard == [(request, {ONE: DIED}) for request in range(50)]
        assert workers.died == [ONE]


async def test_that_an_engine_serves_counts_only_for_those_who_asked_before_it_was_looked_at() -> None:
    async with some_workers() as workers:
        for request in (1, 2, 3):
            await workers.confirm(request, ONE)
        await workers.answer(ONE, SERVING)
        assert workers.heard == [(1, {ONE: SERVING})]
        assert workers.asked == [ONE, ONE]

        await workers.answer(ONE, DIED)
        assert workers.heard[1:] == [(2, {ONE: DIED}), (3, {ONE: DIED})]


async def test_a_question_that_nobody_answers_ends_for_all_who_wait() -> None:
    async with some_workers() as workers:
        await workers.confirm(1, ONE)
        await workers.confirm(2, ONE)
        await workers.answer(ONE, None)

        assert workers.heard == [(1, {}), (2, {})]
        assert workers.died == []


async def test_a_request_hears_of_several_engines_at_once_when_all_answers_are_there() -> None:
    async with some_workers() as workers:
        await workers.confirm(1, ONE, TWO)
        await workers.answer(TWO, DIED)
        assert workers.heard == []
        await workers.answer(ONE, None)

        assert workers.heard == [(1, {TWO: DIED})]


async def test_an_engine_can_be_asked_about_again() -> None:
    async with some_workers() as workers:
        for request in (1, 2):
            await workers.confirm(request, ONE)
            await workers.answer(ONE, SERVING)

        assert workers.heard == [(1, {ONE: SERVING}), (2, {ONE: SERVING})]
        assert workers.asked == [ONE, ONE]
