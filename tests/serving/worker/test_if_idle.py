"""The worker: what is to stop or to sleep if it is idle, and what becomes of that when links come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.serving.kit import key

from sllm_actors.engines.messages import ReplicaState
from sllm_actors.serving.messages import Order

from .workplace import Workplace, run, workplace

pytestmark = pytest.mark.anyio

K = key(0)


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[Workplace]:
    """Run a worker with one gateway and one replica, which serves."""
    async with workplace(home) as place:
        await place.link("g1", "gateway")
        await place.order(K)
        await place.become(K, ReplicaState.READY)
        yield place


async def give(place: Workplace, order: Order) -> None:
    place.head.put(order)
    await place.rest()


def stop_if_idle(turn: int = 0) -> Order:
    return Order(K, None, "it is idle", if_idle=True, turn=turn)


async def test_what_is_idle_stops_as_soon_as_every_gateway_has_let_go_of_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        await give(place, stop_if_idle())
        assert place.reported("g1") == {K: ReplicaState.DRAINING}
        assert place.peers["g1"].table[K].if_idle
        await place.withdraw("g1", K)
        assert place.states() == {}
        assert place.reported() == {K: ReplicaState.STOPPED} or place.reported() == {}


async def test_what_declines_serves_on_and_every_gateway_hears_of_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        replica = place.replicas[K]
        await give(place, stop_if_idle())
        replica.stops.clear()
        replica.say(ReplicaState.READY, declined=1)  # its requests did not end in time
        await place.rest()
        assert place.reported("g1") == {K: ReplicaState.READY}
        assert place.peers["head"].table[K].declined == 1
        await place.withdraw("g1", K)  # of the withdrawal that is over: too late
        assert replica.drained == []
        await give(place, stop_if_idle(turn=1))
        assert replica.stops == ["it is idle"]
        await place.withdraw("g1", K)
        assert place.states() == {}


async def test_a_head_that_comes_back_repeats_its_order_without_effect(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        replica = place.replicas[K]
        await give(place, stop_if_idle())
        await place.lose("head")
        replica.stops.clear()
        replica.say(ReplicaState.READY, declined=1)
        await place.rest()
        await place.link("head", "head", life=2)
        assert replica.stops == []
        assert place.reported() == {K: ReplicaState.READY}
        await give(place, Order(K, run(K)))
        assert place.states() == {K: ReplicaState.READY}


async def test_what_is_ordered_to_sleep_sleeps_and_is_woken_by_an_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        replica = place.replicas[K]
        await give(place, Order(K, run(K), sleep=2))
        assert replica.levels == [2]
        await place.withdraw("g1", K)
        assert [each.withdrawal for each in replica.drained] == [1]
        await give(place, Order(K, run(K)))
        assert place.states() == {K: ReplicaState.READY}


async def test_what_had_its_turn_may_take_long_to_sleep_and_no_other_head_changes_that(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as place:
        replica = place.replicas[K]
        await give(place, Order(K, run(K), sleep=1, turn=4, patience=600.0))
        assert (replica.levels, replica.patience) == ([1], 600.0)
        assert place.reported("g1") == {K: ReplicaState.ASLEEP}, "it gets no more requests"
        await place.lose("head")
        await place.link("head", "head", life=2)
        await give(place, Order(K, run(K), sleep=1, turn=4, patience=600.0))
        assert replica.levels == [1]
        assert replica.drained == []
        await place.withdraw("g1", K)
        assert [each.withdrawal for each in replica.drained] == [1]


async def test_a_worker_that_was_started_again_starts_no_sleepers(tmp_path: Path) -> None:
    async with workplace(tmp_path) as place:
        await give(place, Order(K, run(K), sleep=1))
        assert place.made == 0
        assert K not in place.replicas
        await give(place, Order(K, run(K)))
        assert place.states() == {K: ReplicaState.STARTING}
