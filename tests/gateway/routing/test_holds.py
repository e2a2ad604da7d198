"""The queue of requests that wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.gateway.kit import replica

from sllm_actors.gateway.routing.holds import Hold, HoldQueue

ONE = replica(number=1).id
TWO = replica(number=2).id


def test_who_came_first_is_let_go_first() -> None:
    queue = HoldQueue()
    for ticket in (3, 1, 2):
        assert queue.join(Hold(ticket, 10.0), 10)
    assert queue.release([ONE]) == [3, 1, 2]
    assert len(queue) == 0


def test_nobody_is_let_go_to_a_replica_that_broke_on_them() -> None:
    queue = HoldQueue()
    queue.join(Hold(1, 10.0, frozenset([ONE]), 5.0), 10)
    queue.join(Hold(2, 10.0), 10)
    assert queue.release([]) == []
    assert queue.release([ONE]) == [2]
    assert queue.release([ONE, TWO]) == [1]


def test_a_replica_that_broke_and_is_still_called_ready_is_not_waited_for_for_ever() -> None:
    queue = HoldQueue()
    queue.join(Hold(1, 100.0, frozenset([ONE]), 5.0), 10)
    assert queue.next_time(0.0) == 5.0
    assert queue.expire_unnoticed(4.9, [ONE]) == []
    assert queue.expire_unnoticed(5.0, []) == [], "its worker knows: it will be back"
    assert queue.next_time(5.0) == 100.0
    assert queue.expire_unnoticed(6.0, [ONE]) == [1]


def test_a_full_queue_takes_nobody_until_somebody_leaves() -> None:
    queue = HoldQueue()
    assert queue.join(Hold(1, 10.0), 1)
    assert not queue.join(Hold(2, 10.0), 1)
    assert queue.leave(1)
    assert not queue.leave(1)
    assert queue.join(Hold(2, 10.0), 1)
    assert queue.clear() == [2]


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0, 100))
def test_exactly_those_whose_deadline_has_passed_expire(deadlines: list[float], now: float) -> None:
    queue = HoldQueue()
    for ticket, deadline in enumerate(deadlines):
        queue.join(Hold(ticket, deadline), 100)
    assert queue.next_time(0.0) == min(deadlines, default=None)
    assert queue.expire(now) == [ticket for ticket, deadline in enumerate(deadlines) if deadline <= now]
    assert len(queue) == sum(deadline > now for deadline in deadlines)


class Holding(RuleBasedStateMachine):
    """Every request that joined is let go exactly once, whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = HoldQueue()
        self.waiting: list[int] = []
        self.now = 0.0
        self.ticket = 0

    @rule(patience=st.floats(0.1, 10))
    def join(self, patience: float) -> None:
        self.ticket += 1
        if self.queue.join(Hold(self.ticket, self.now + patience), 5):
            self.waiting.append(self.ticket)

    @rule(which=st.integers(0, 10))
    def leave(self, which: int) -> None:
        ticket = self.ticket - which
        assert self.queue.leave(ticket) == (ticket in self.waiting)
        self.waiting = [each for each in self.waiting if each != ticket]

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for ticket in self.queue.expire(self.now):
            self.waiting.remove(ticket)

    @rule()
    def release(self) -> None:
        assert self.queue.release([ONE]) == self.waiting
        self.waiting = []

    @invariant()
    def nobody_is_lost_and_the_bound_holds(self) -> None:
        assert len(self.queue) == len(self.waiting) <= 5


TestHolding = Holding.TestCase
