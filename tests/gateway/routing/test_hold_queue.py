"""The queue of requests that wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.kit import replica
from tests.gateway.routing.balancing import SMOL, Request

from sllm_actors.gateway.routing.asked import Asked, Stored
from sllm_actors.gateway.routing.lines.hold import Hold
from sllm_actors.gateway.routing.lines.hold_queue import HoldQueue
from sllm_actors.gateway.routing.lines.place import Place
from sllm_actors.gateway.routing.route import Upstream

PLACES = [Place(Upstream(replica(number=number).id, "w", "", ""), SMOL) for number in range(3)]


def hold(number: int, priority: int, tried: set[int], holder: int | None) -> Hold:
    stored = None if holder is None else Stored("resp_1", PLACES[holder].id)
    asked = Asked(SMOL, priority, tried=frozenset(PLACES[each].id for each in tried), stored=stored)
    return Hold(asked, Request(asked), number, 0.0, 0.0)


def age_of(hold: Hold) -> tuple[int, int]:
    return -hold.asked.priority, hold.number


@given(
    st.lists(
        st.tuples(
            st.integers(-2, 2),
            st.sets(st.integers(0, 2), max_size=2),
            st.none() | st.integers(0, 2),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.sets(st.integers(0, 2)),
)
def test_the_first_is_that_of_the_highest_priority_then_the_oldest_that_may_go(
    requests: list[tuple[int, set[int], int | None, bool]], ready: set[int]
) -> None:
    queue = HoldQueue()
    waiting: list[Hold] = []
    for number, (priority, tried, holder, leaves) in enumerate(requests):
        if leaves and waiting:
            queue.leave(waiting.pop(number % len(waiting)), 0.0)
        waiting.append(hold(number, priority, tried, holder))
        queue.join(waiting[-1], 0.0)
    waiting.sort(key=age_of)
    assert queue.all() == waiting
    assert len(queue) == len(waiting)
    assert [queue.ahead_of(each) for each in waiting] == list(range(len(waiting)))
    places = [PLACES[each] for each in ready]
    free = {place.id for place in places}
    may_go = [each for each in waiting if any(map(each.asked.allows, free))]
    assert queue.first(places) is (may_go[0] if may_go else None)
    stuck = [each for each in waiting if free and free <= each.asked.tried]
    assert sorted(queue.tried_on_all(frozenset(free)), key=age_of) == stuck
    bereft = [each for each in waiting if each.asked.holder and each.asked.holder not in free]
    assert sorted(queue.bereft(frozenset(free)), key=age_of) == bereft
