"""One queue fires deadlines in order, forgets cancelled ones, and wakes for a nearer one."""

from __future__ import annotations

import anyio
import pytest

from sllm_actors.actors.clock import LoopClock
from sllm_actors.actors.deadlines import BURST, TOLERATED, Deadline, Deadlines
from sllm_actors.testing import ManualClock

pytestmark = pytest.mark.anyio


class Mark(Deadline):
    def __init__(self, fired: list[str], name: str) -> None:
        super().__init__()
        self.fired = fired
        self.name = name

    def fire(self) -> None:
        self.fired.append(self.name)


async def test_deadlines_fire_in_the_order_of_their_times_and_ties_in_the_order_of_adding() -> None:
    clock, fired = ManualClock(), list[str]()
    queue = Deadlines(clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        for name, delay in [("c", 3.0), ("a", 1.0), ("b1", 2.0), ("b2", 2.0)]:
            queue.add(Mark(fired, name), delay)
        await clock.advance(2.5)
        assert fired == ["a", "b1", "b2"]
        await clock.advance(1)
        assert fired == ["a", "b1", "b2", "c"]
        assert len(queue) == 0
        tasks.cancel_scope.cancel()


async def test_a_nearer_deadline_wakes_a_queue_that_waits_for_a_later_one() -> None:
    clock, fired = ManualClock(), list[str]()
    queue = Deadlines(clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        queue.add(Mark(fired, "late"), 100)
        await clock.advance(1)
        queue.add(Mark(fired, "soon"), 1)
        await clock.advance(1)
        assert fired == ["soon"]
        tasks.cancel_scope.cancel()


async def test_a_cancelled_deadline_does_not_fire_and_cancelling_twice_is_harmless() -> None:
    clock, fired = ManualClock(), list[str]()
    queue = Deadlines(clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        mark = Mark(fired, "never")
        queue.add(mark, 1)
        queue.cancel(mark)
        queue.cancel(mark)
        assert len(queue) == 0
        await clock.advance(2)
        assert fired == []
        tasks.cancel_scope.cancel()


async def test_cancelled_deadlines_do_not_pile_up() -> None:
    queue, fired = Deadlines(ManualClock()), list[str]()
    keep = Mark(fired, "keep")
    queue.add(keep, 50)
    for _ in range(10 * TOLERATED):
        mark = Mark(fired, "never")
        queue.add(mark, 60)
        queue.cancel(mark)
    assert len(queue) == 1
    assert len(queue._heap) <= 2 * TOLERATED + 2


async def test_a_burst_of_deadlines_leaves_other_tasks_their_turn() -> None:
    clock, fired, seen = ManualClock(), list[str](), list[int]()
    queue = Deadlines(clock)

    async def look() -> None:
        while len(fired) < 3 * BURST:
            seen.append(len(fired))
            await anyio.lowlevel.checkpoint()

    for _ in range(3 * BURST):
        queue.add(Mark(fired, "x"), 1)
    clock._now = 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        tasks.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert any(0 < count < 3 * BURST for count in seen)


async def test_the_loops_clock_waits_for_the_time_or_the_event_whichever_is_first() -> None:
    clock = LoopClock()
    with anyio.fail_after(60):
        await clock.wait(anyio.Event(), clock.now() + 0.01)
        event = anyio.Event()
        event.set()
        await clock.wait(event, clock.now() + 1000)
