"""A follower on another node has what the owner has, whatever is lost between them and whoever restarts."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from sllm_actors.serving.differences.feed import BEAT_INTERVAL
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.testing.sim_run import deterministic

from .copies import MAILBOX, SETTINGS, Busy, Crash, Pair, pair
from .kit import AskItems, Item, ItemsDifference, ItemsPage, Name, item

pytestmark = pytest.mark.trio

Pairs = Callable[[], AbstractAsyncContextManager[Pair]]

BEAT = BEAT_INTERVAL + 0.3
"""Within a beat, and the messages that it leads to."""

SEEDS = range(int(os.environ.get("SLLM_SIM_WORLDS", "3")))


@pytest.fixture(params=SEEDS)
def two(request: pytest.FixtureRequest) -> Iterator[Pairs]:
    with deterministic(request.param):
        yield partial(pair, request.param)


def some(prefix: str, many: int) -> tuple[Item, ...]:
    return tuple(item(f"{prefix}{number:02}", number) for number in range(many))


async def test_what_changes_arrives_at_once(autojump_clock: MockClock, two: Pairs) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        assert await both.become_equal(1.0) < 0.2
        both.put(item("a00", 7), item("b"))
        both.remove(Name("a01"), Name("a02"))
        assert await both.become_equal(1.0) < 0.2


@pytest.mark.parametrize("at_both_ends", [True, False])
async def test_a_lane_that_is_lost_under_a_link_that_stands_loses_nothing_for_long(
    autojump_clock: MockClock, two: Pairs, at_both_ends: bool
) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        for number in range(10):
            both.put(item("a00", number), item(f"b{number}"))
            both.remove(Name(f"a{number:02}"))
            both.cut_data_lane(both=at_both_ends)
            await anyio.sleep(0.05)
        await both.become_equal(3 * BEAT)
        assert both.losses == 0


async def test_the_last_difference_before_a_silence_is_made_good_within_a_beat(
    autojump_clock: MockClock, two: Pairs
) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        await both.become_equal(1.0)
        both.owner.lose = lambda message: isinstance(message, ItemsDifference)
        both.put(item("b"))
        both.remove(Name("a00"))
        await anyio.sleep(0.01)
        both.owner.lose = lambda _: False
        assert not both.equal
        await both.become_equal(BEAT)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [AskItems, ItemsPage, ItemsDifference, Beat])
async def test_messages_of_each_kind_may_be_lost(
    autojump_clock: MockClock, two: Pairs, lost: type[Any]
) -> None:
    async with two() as both:
        dice = random.Random(1)

        def lose(message: Any) -> bool:
            return isinstance(message, lost) and dice.random() < 0.5

        both.owner.lose = both.copier.lose = lose
        for number in range(20):
            both.put(*some(f"{number}-", 3), item("always", number))
            both.remove(Name(f"{number - 1}-00"))
            await anyio.sleep(0.3)
        both.owner.lose = both.copier.lose = lambda _: False
        await both.become_equal(20 * BEAT)


async def test_an_owner_that_restarts_is_followed_again_and_what_it_lost_is_removed(
    autojump_clock: MockClock, two: Pairs
) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        await both.become_equal(1.0)
        both.owner.actor.tell(Crash())
        del both.owner.items[Name("a03")]
        await both.become_equal(2 * BEAT)
        both.put(item("b"))
        assert await both.become_equal(1.0) < 0.2
        assert both.losses == 0


async def test_a_follower_that_restarts_begins_from_the_whole(autojump_clock: MockClock, two: Pairs) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        await both.become_equal(1.0)
        both.copier.actor.tell(Crash())
        await anyio.sleep(0.2)
        assert await both.become_equal(1.0) < 0.5
        assert len(both.copier.items) == 30


@pytest.mark.slow
async def test_a_full_mailbox_costs_a_follower_only_time(autojump_clock: MockClock, two: Pairs) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        await both.become_equal(1.0)
        both.copier.actor.tell(Busy(5.0))
        for number in range(3 * MAILBOX.messages):
            both.put(item(f"b{number}"))
            both.remove(Name(f"a{number:02}"))
            await anyio.sleep(0.05)
        await anyio.sleep(2.5)
        assert both.copier.system.statistics().dead_letters > MAILBOX.messages
        await both.become_equal(2 * BEAT)


async def test_a_question_that_found_a_full_mailbox_is_asked_again(
    autojump_clock: MockClock, two: Pairs
) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        await both.become_equal(1.0)
        both.owner.actor.tell(Busy(1.0))
        await anyio.sleep(0.01)
        for number in range(MAILBOX.messages):
            both.put(item(f"b{number}"))
        assert both.owner.system.statistics().dead_letters == 0
        both.copier.actor.tell(Crash())
        await anyio.sleep(0.5)
        assert both.owner.system.statistics().dead_letters == 1
        assert both.copier.items == {}
        await both.become_equal(3 * BEAT)


async def test_a_link_that_was_lost_begins_with_the_whole(autojump_clock: MockClock, two: Pairs) -> None:
    async with two() as both:
        both.put(*some("a", 30))
        await both.become_equal(1.0)
        with both.net.stalled(("owner", "copier"), ("copier", "owner")):
            both.put(*some("b", 30))
            both.remove(*(each.name for each in some("a", 10)))
            await anyio.sleep(2 * SETTINGS.budget)
        assert both.losses
        await both.become_equal(3 * BEAT)


async def test_a_table_that_never_rests_is_loaded_all_the_same(autojump_clock: MockClock, two: Pairs) -> None:
    async with two() as both:
        both.put(*some("a", 60))
        both.copier.actor.tell(Crash())
        for number in range(100):
            both.put(item(f"a{number % 60:02}", number), item(f"b{number:03}"))
            both.remove(Name(f"b{number - 5:03}"))
            await anyio.sleep(0.01)
        assert await both.become_equal(1.0) < 0.5


@pytest.mark.slow
async def test_after_any_mix_of_faults_the_tables_become_equal(autojump_clock: MockClock, two: Pairs) -> None:
    async with two() as both:
        dice = random.Random(f"{both.net._rng.random()}")
        rate = 0.0

        def lose(_: Any) -> bool:
            return dice.random() < rate

        both.owner.lose = both.copier.lose = lose
        for _ in range(60):
            rate = dice.choice([0.0, 0.0, 0.05, 0.5])
            both.put(*dice.sample(some("a", 60), dice.randint(1, 12)), item("b", dice.randrange(9)))
            both.remove(*(each.name for each in dice.sample(some("a", 60), dice.randint(1, 12))))
            match dice.randrange(12):
                case 0 | 1:
                    both.cut_data_lane(both=dice.random() < 0.5)
                case 2:
                    both.owner.actor.tell(Crash())
                case 3:
                    both.copier.actor.tell(Crash())
                case 4:
                    both.copier.actor.tell(Busy(dice.random()))
                case 5:
                    with both.net.stalled(("owner", "copier")):
                        await anyio.sleep(dice.random())
                case _:
                    await anyio.sleep(dice.choice([0.0, 0.1, 1.5]))
        rate = 0.0
        await both.become_equal(20 * BEAT)
