"""A worker that is told to stop: its requests may end, nothing begins any more, the head plans nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.serving.kit import key

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.worker.leaving import STOPPING, Leave

from .workplace import Workplace, workplace

pytestmark = pytest.mark.anyio

PATIENCE = 3.0


@asynccontextmanager
async def leaving(place: Workplace) -> AsyncIterator[anyio.Event]:
    """Tell a worker to stop; yield what is set once it has answered, which it has at the end."""
    answered = anyio.Event()

    async def leave() -> None:
        await place.worker.ask(Leave(PATIENCE), timeout=600)
        answered.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        await place.rest()
        yield answered
        with anyio.fail_after(60):
            await answered.wait()


async def test_replicas_end_when_each_gateway_has_let_go_of_them(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0), key(1))
        for each in (key(0), key(1)):
            await place.become(each, ReplicaState.READY)
        async with leaving(place) as answered:
            assert place.reported("g1") == dict.fromkeys((key(0), key(1)), ReplicaState.DRAINING)
            assert place.replicas[key(0)].stops == [STOPPING]
            await place.withdraw("g1", key(0))
            assert place.reported("g1") == {key(1): ReplicaState.DRAINING}
            assert not answered.is_set()
            await place.withdraw("g1", key(1))
        assert place.states() == {}


async def test_what_still_has_requests_ends_when_the_patience_is_over(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        async with leaving(place) as answered:
            await place.advance(PATIENCE - 0.1)
            assert not answered.is_set()
            assert place.states() == {key(0): ReplicaState.DRAINING}
            await place.advance(0.1)
        assert place.reported("g1") == {}


async def test_without_replicas_it_may_end_at_once(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place, leaving(place):
        pass


async def test_the_head_hears_nothing_of_it_and_its_orders_begin_nothing(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await place.link("g1", "gateway")
        await place.order(key(0))
        await place.become(key(0), ReplicaState.READY)
        async with leaving(place):
            await place.order(key(0), key(1))
            await place.link("head", "head", life=2)
            await place.withdraw("g1", key(0))
            await place.advance(1.5)  # when a replica that has ended is started again
            assert place.reported() == {key(0): ReplicaState.READY}
            assert place.made == 1
            assert place.states() == {}
