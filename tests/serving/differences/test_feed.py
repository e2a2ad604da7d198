"""A feed sends each follower what it must have, in order; beats go to a few followers at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import define, field

from sllm_actors.actors import TEMPORARY, Actor, ChildSpec
from sllm_actors.serving.differences.feed import TICKS, Beats, Feed
from sllm_actors.serving.differences.follower import Follower
from sllm_actors.serving.differences.messages import Beat
from sllm_actors.serving.differences.subscription import Subscription
from sllm_actors.testing import TestProbe, TestSystem

from .kit import ITEMS, AskItems, Item, ItemsDifference, ItemsPage, Name, item, names, publisher_of

pytestmark = pytest.mark.anyio


def feed_of(*items: Item, beats: Beats | None = None) -> Feed[Name, Item]:
    return Feed(publisher_of(*items), beats or Beats())


@asynccontextmanager
async def probes(count: int) -> AsyncIterator[list[TestProbe]]:
    async with TestSystem() as system:
        yield [await system.probe() for _ in range(count)]


async def test_each_follower_gets_each_difference() -> None:
    async with probes(2) as followers:
        feed = feed_of(item("a"))
        for number, each in enumerate(followers):
            feed.follow(f"n{number}", each.ref)
            assert await each.expect(Beat) == Beat("items", "owner", 1, 1)
        feed.publisher.put(item("b"))
        feed.publish()
        feed.publish()
        for each in followers:
            assert await each.expect(ItemsDifference) == ItemsDifference("owner", 1, 2, (item("b"),))
            await each.expect_nothing()


async def test_a_page_goes_to_whom_asked_after_the_changes_that_it_holds() -> None:
    async with probes(2) as (asking, other):
        feed = feed_of(item("a"))
        feed.follow("n0", asking.ref)
        feed.follow("n1", other.ref)
        await asking.expect(Beat)
        await other.expect(Beat)
        feed.publisher.put(item("b"))
        feed.answer(AskItems("n0"))
        difference = ItemsDifference("owner", 1, 2, (item("b"),))
        assert await asking.expect(ItemsDifference) == difference
        assert await asking.expect(ItemsPage) == ItemsPage("owner", 1, 2, None, (item("a"), item("b")))
        assert await other.expect(ItemsDifference) == difference
        await other.expect_nothing()


async def test_who_does_not_follow_gets_nothing() -> None:
    async with probes(1) as (gone,):
        beats = Beats()
        feed = feed_of(item("a"), beats=beats)
        feed.answer(AskItems("n0"))
        feed.follow("n0", gone.ref)
        await gone.expect(Beat)
        feed.unfollow("n0")
        feed.unfollow("n0")
        feed.publisher.put(item("b"))
        feed.publish()
        feed.answer(AskItems("n0"))
        beats.tick()
        await gone.expect_nothing()
        assert feed.followers == frozenset()


@pytest.mark.slow
async def test_beats_go_to_a_slice_of_all_followers_at_each_tick_and_to_each_within_a_second() -> None:
    async with probes(25) as followers:
        beats = Beats()
        feeds = [feed_of(item("a"), beats=beats), feed_of(beats=beats)]
        for number, each in enumerate(followers):
            feed = feeds[number % 2]
            feed.follow(f"n{number}", each.ref)
            assert (await each.expect(Beat)).number == 1 - number % 2
        heard = [0] * len(followers)
        for _ in range(TICKS):
            before = sum(heard)
            beats.tick()
            await anyio.wait_all_tasks_blocked()
            heard = [len(each.replies) - 1 for each in followers]
            assert sum(heard) - before <= 3
        assert min(heard) >= 1


@define
class Following(Actor):
    subscription: Subscription[Name, Item]
    table: dict[Name, Item] = field(factory=dict)

    async def started(self) -> None:
        self.subscription.begin()

    async def receive(self, message: Any) -> None:
        changes = self.subscription.take(message)
        self.table.update({each.name: each for each in changes.put})
        for key in changes.removed:
            del self.table[key]


async def test_a_subscription_asks_the_publisher_for_page_after_page() -> None:
    async with TestSystem() as system:
        owner = await system.probe()
        actor = Following(Subscription(Follower(ITEMS, "me"), owner.ref))
        ref = await system.start(ChildSpec("following", lambda: actor, restart=TEMPORARY))
        feed = feed_of(*map(item, "abcde"))
        assert await owner.expect(AskItems) == AskItems("me")
        feed.follow("me", ref)
        feed.answer(AskItems("me"))
        assert await owner.expect(AskItems) == AskItems("me", *names("c"))
        feed.answer(AskItems("me", *names("c")))
        await owner.expect_nothing()
        assert actor.table == {Name(each): item(each) for each in "abcde"}
