"""Whatever is lost or comes twice, and whoever restarts: a follower's table is its publisher's in the end."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sllm_actors.serving.differences.follower import Changes, Follower
from sllm_actors.serving.differences.messages import Beat, Difference, Page
from sllm_actors.serving.differences.publisher import Publisher

from .kit import ITEMS, Name
from .world import World, plain_follower, plain_publisher

names = st.sampled_from("abcdefgh")


class StreamMachine(RuleBasedStateMachine):
    """Drives one stream; the world checks."""

    publisher: Any = staticmethod(plain_publisher)
    follower: Any = staticmethod(plain_follower)

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.publisher, self.follower)

    @initialize(first=st.sets(names))
    def fill(self, first: set[str]) -> None:
        for name in sorted(first):
            self.world.put(name)

    @rule(changed=st.lists(names, min_size=1, max_size=5))
    def put(self, changed: list[str]) -> None:
        for name in changed:
            self.world.put(name)

    @rule(removed=st.lists(names, min_size=1, max_size=3))
    def remove(self, removed: list[str]) -> None:
        for name in removed:
            self.world.publisher.remove(Name(name))

    @rule()
    def flush(self) -> None:
        self.world.flush()

    @rule()
    def beat(self) -> None:
        self.world.beat()

    @rule(steps=st.lists(st.sampled_from("ddaapl"), min_size=1, max_size=15), put=st.lists(names, min_size=1))
    def go_on(self, steps: list[str], put: list[str]) -> None:
        """Deliver (d), answer a question (a), put an item (p), or lose what comes next (l)."""
        for step in steps:
            match step:
                case "d":
                    self.world.deliver()
                case "a":
                    self.world.answer()
                case "p":
                    self.world.put(put[0])
                    put = [*put[1:], put[0]]
                case _:
                    del self.world.coming[:1]

    @precondition(lambda self: self.world.coming)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        coming = self.world.coming
        del coming[data.draw(st.integers(0, len(coming) - 1))]

    @rule()
    def lose_all_that_comes(self) -> None:
        self.world.coming.clear()

    @precondition(lambda self: self.world.asked)
    @rule()
    def lose_question(self) -> None:
        self.world.asked.pop()

    @precondition(lambda self: self.world.coming)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Let a message come twice: a beat at once, others at any later time."""
        coming = self.world.coming
        place = data.draw(st.integers(0, len(coming) - 1))
        beat = isinstance(coming[place], Beat)
        later = place + 1 if beat else data.draw(st.integers(place + 1, len(coming)))
        coming.insert(later, coming[place])

    @rule(keeps=st.integers(0, 8))
    def restart_publisher(self, keeps: int) -> None:
        self.world.restart_publisher(keeps)

    @rule()
    def restart_follower(self) -> None:
        self.world.restart_follower()

    @rule(begun=st.booleans())
    def replace_follower(self, begun: bool) -> None:
        self.world.replace_follower(begun=begun)

    @rule()
    def begin_life(self) -> None:
        self.world.begin_life()

    @rule()
    def link_up(self) -> None:
        self.world.link_up()

    @rule()
    def settle(self) -> None:
        self.world.settle()

    def teardown(self) -> None:
        self.world.settle()


TestStream = StreamMachine.TestCase


# ---- bugs that the model must find


class PassesOverGaps(Follower[Any, Any]):
    def _difference(self, difference: Difference[Any, Any]) -> Changes[Any, Any]:
        if self._placed and difference.number > self._number:
            self._number = difference.number - 1
        return super()._difference(difference)


class KeepsWhatIsGone(Follower[Any, Any]):
    def _page(self, page: Page[Any, Any]) -> Changes[Any, Any]:
        return evolve(super()._page(page), removed=())


class DeafToBeats(Follower[Any, Any]):
    def _beat(self, beat: Beat) -> Changes[Any, Any]:
        return super()._beat(beat) if not self.complete else Changes()


class TakesPagesOfAnyNumber(Follower[Any, Any]):
    def _page(self, page: Page[Any, Any]) -> Changes[Any, Any]:
        return super()._page(evolve(page, number=self._number) if self._placed else page)


class ForgetsWhatIsKnown(Follower[Any, Any]):
    def __init__(self, *args: Any, known: Any, **more: Any) -> None:
        super().__init__(*args, **more)


class DropsLateDifferences(Follower[Any, Any]):
    """Forgets that a load under way has covered keys already."""

    def _covers(self, key: Any) -> bool:
        return self.complete


class SkipsAfterTheCursor(Publisher[Any, Any]):
    def page(self, after: Any) -> Page[Any, Any]:
        page = super().page(after)
        return page if after is None or len(page.entries) < 2 else evolve(page, entries=page.entries[1:])


class KeepsItsNumber(Publisher[Any, Any]):
    def begin_life(self, life: int) -> None:
        number = self.number
        super().begin_life(life - 1)
        self.number = number


class ForgetsRemovals(Publisher[Any, Any]):
    def flush(self) -> tuple[Difference[Any, Any], ...]:
        return tuple(evolve(each, removed=()) for each in super().flush())


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [
        PassesOverGaps,
        KeepsWhatIsGone,
        DeafToBeats,
        TakesPagesOfAnyNumber,
        DropsLateDifferences,
        ForgetsWhatIsKnown,
        KeepsItsNumber,
        SkipsAfterTheCursor,
        ForgetsRemovals,
    ],
)
def test_the_model_finds_a_planted_bug(bug: type[Any]) -> None:
    class Planted(StreamMachine):
        if issubclass(bug, Follower):
            follower = staticmethod(lambda known: bug(ITEMS, "me", most_keys=1000, known=known))
        else:
            publisher = staticmethod(lambda life: bug(ITEMS, "owner", life, most_entries=2))

    search = settings(
        max_examples=3000,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    seed(8)(Planted)  # it finds each of them soon
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Planted, settings=search)
