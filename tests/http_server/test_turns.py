"""Processes that share a listening socket take connections in turns, and none waits long for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.http_server.turns import PATIENCE, STEP, Sibling, Turns


def test_who_has_fewest_takes_the_next() -> None:
    turns = Turns()
    assert turns.wait(3, [Sibling(3, 1), Sibling(5, 1)], 0.0) == 0
    assert turns.wait(4, [Sibling(3, 1), Sibling(5, 1)], 0.0) == STEP


def test_a_process_alone_never_waits() -> None:
    assert Turns().wait(1_000, [], 0.0) == 0


def test_one_that_takes_no_connections_is_not_waited_for() -> None:
    assert Turns().wait(1_000, [Sibling(-1, 1)], 0.0) == 0


def test_one_that_does_not_stir_is_waited_for_once_and_again_when_it_has_stirred() -> None:
    turns = Turns()
    frozen = [Sibling(0, 7)]
    assert turns.wait(2, frozen, 10.0) == STEP
    assert turns.wait(2, frozen, 10.0 + PATIENCE / 2) == STEP
    assert turns.wait(2, frozen, 10.0 + PATIENCE) == 0
    assert turns.wait(3, frozen, 10.0 + PATIENCE) == 0  # at once from now on
    assert turns.wait(3, [Sibling(0, 8)], 11.0) == STEP


@given(st.lists(st.booleans(), min_size=2, max_size=400), st.integers(2, 5))
def test_counts_differ_by_one_at_most_in_whatever_order_the_processes_run(
    runs: list[bool], processes: int
) -> None:
    counts, turns = [0] * processes, [Turns() for _ in range(processes)]
    for step, more in enumerate(runs):
        own = (step * (2 if more else 1)) % processes
        others = [Sibling(count, step) for seat, count in enumerate(counts) if seat != own]
        if turns[own].wait(counts[own], others, step * STEP) == 0:
            counts[own] += 1
    assert max(counts) - min(counts) <= 1
