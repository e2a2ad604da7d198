"""A clean-up that fails while it is cancelled costs its own actor, on every loop, and nothing beside it.

On trio a task group then raises both at once: the cancellation and the failure, in one group.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    KILLED,
    SHUTDOWN,
    TEMPORARY,
    ActorRef,
    Down,
    ExitReason,
    Failed,
    RemoteFailure,
)
from sllm_actors.testing import TestProbe, TestSystem

from .scripted import Scripted, start

pytestmark = pytest.mark.anyio


async def wait_and_fail_to_clean_up(_actor: Scripted, _message: Any = None) -> None:
    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("the clean-up failed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep_forever()


async def work_in_the_background(actor: Scripted, _message: Any) -> None:
    actor.context.start_soon(wait_and_fail_to_clean_up, actor)


async def wait_beside_work_that_fails(actor: Scripted, message: Any) -> None:
    async def fail() -> None:
        await anyio.wait_all_tasks_blocked()
        raise OSError("the work failed")

    actor.context.start_soon(fail)
    await wait_and_fail_to_clean_up(actor, message)


async def end(system: TestSystem, probe: TestProbe, ref: ActorRef, message: Any = 1) -> ExitReason:
    probe.monitor(ref)
    ref.tell(message)
    await anyio.wait_all_tasks_blocked()
    await system.stop_child("a")
    return (await probe.expect(Down)).reason


async def test_of_a_handler_that_is_killed() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        ref = await start(system, wait_and_fail_to_clean_up, restart=TEMPORARY, shutdown=0)
        assert await end(system, probe, ref) == KILLED
        assert await (await start(system)).ask("the others live", timeout=60) == "the others live"


async def test_of_background_work_that_is_cancelled() -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        log: list[str] = []
        ref = await start(system, work_in_the_background, restart=TEMPORARY, log=log)
        assert await end(system, probe, ref) == SHUTDOWN
        assert log == ["started", "stopped: shutdown"]
        assert await (await start(system)).ask("the others live", timeout=60) == "the others live"


async def test_of_a_handler_that_is_cancelled_because_background_work_failed() -> None:
    """What failed first is the reason; who asked is told of the clean-up, which answered first."""
    async with TestSystem() as system:
        probe = await system.probe()
        ref = await start(system, wait_beside_work_that_fails, restart=TEMPORARY)
        probe.monitor(ref)
        with pytest.raises(RemoteFailure, match="ExceptionGroup"):
            await ref.ask(1, timeout=60)
        assert (await probe.expect(Down)).reason == Failed("OSError", "the work failed")


async def test_of_an_actor_in_a_system_that_is_cancelled() -> None:
    with anyio.move_on_after(5) as outer:
        async with TestSystem(cancelled_budget=0.05) as system:
            (await start(system, wait_and_fail_to_clean_up, shutdown=10)).tell(1)
            await anyio.wait_all_tasks_blocked()
            outer.cancel()
            await anyio.sleep_forever()
    assert outer.cancelled_caught
