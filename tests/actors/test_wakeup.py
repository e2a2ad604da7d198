"""A wake-up wakes one task once, whichever comes first, on every event loop."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import TaskStatus

from sllm_actors.actors.clock import LoopClock
from sllm_actors.actors.wakeup import Wakeup, wakeups

pytestmark = pytest.mark.anyio


async def wait_for(wakeup: Wakeup, woken: list[str], *, task_status: TaskStatus[None]) -> None:
    task_status.started()
    await wakeup.wait()
    woken.append("woken")


async def test_it_wakes_the_task_that_waits() -> None:
    wakeup, woken = wakeups()(), list[str]()
    async with anyio.create_task_group() as tasks:
        await tasks.start(wait_for, wakeup, woken)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        wakeup.set()
    assert woken == ["woken"]


async def test_a_task_that_comes_later_does_not_wait_and_a_second_set_is_nothing() -> None:
    wakeup = wakeups()()
    wakeup.set()
    wakeup.set()
    with anyio.fail_after(60):
        await wakeup.wait()


async def test_a_cancelled_wait_ends_and_the_late_set_is_nothing() -> None:
    wakeup, woken = wakeups()(), list[str]()
    async with anyio.create_task_group() as tasks:
        await tasks.start(wait_for, wakeup, woken)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        wakeup.set()
    with anyio.move_on_after(0.01) as scope:
        await wait_for(wakeups()(), woken, task_status=anyio.TASK_STATUS_IGNORED)
    assert scope.cancelled_caught
    assert len(woken) <= 1  # the first may have been woken before it was cancelled


async def test_the_clock_of_the_loop_shows_the_time_of_the_loop() -> None:
    clock = LoopClock()
    before = anyio.current_time()
    assert before <= clock.now() <= anyio.current_time()
    await anyio.sleep(0.02)
    assert clock.now() >= before + 0.02 - 0.002  # uvloop's time has milliseconds
