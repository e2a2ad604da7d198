"""What travels beside an ask: who waits for whom, the request it is part of, and the time that is left."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    Actor,
    ActorRef,
    CallCycle,
    ChildSpec,
    Metadata,
)
from sllm_actors.testing import ManualClock, TestSystem

from .scripted import Scripted, start_once

pytestmark = pytest.mark.anyio


async def test_an_actor_that_asks_itself_is_told_of_the_cycle() -> None:
    async with TestSystem() as system:

        async def ask_self(actor: Scripted, message: Any) -> Any:
            try:
                await actor.context.ref.ask("again", timeout=5)
            except CallCycle as cycle:
                return str(cycle)

        ref = await start_once(system, ask_self)
        assert "waits, up the call chain local/" in await ref.ask("go", timeout=5)


async def test_a_cycle_through_others_is_found_and_a_name_does_not_hide_it() -> None:
    async with TestSystem() as system:

        async def via(actor: Scripted, message: list[str]) -> Any:
            if not message:
                return "done"
            try:
                return await system.named(message[0]).ask(message[1:], timeout=5)
            except CallCycle:
                return f"cycle at {message[0]}"

        first = await start_once(system, via, "a", name="a")
        await start_once(system, via, "b", name="b")
        await start_once(system, via, "c", name="c")
        assert await first.ask(["b", "c", "a"], timeout=5) == "cycle at a"
        assert await first.ask(["b", "c"], timeout=5) == "done"
        assert await first.ask(["b"], timeout=5) == "done"


async def test_tells_and_background_work_wait_for_nobody_so_they_make_no_cycle() -> None:
    async with TestSystem() as system:
        got: list[Any] = []

        async def handle(actor: Scripted, message: Any) -> Any:
            async def ask_back() -> None:
                got.append(await actor.context.ref.ask("plain", timeout=5))

            if message == "start":
                actor.context.start_soon(ask_back)
            return message

        ref = await start_once(system, handle)
        await ref.ask("start", timeout=5)
        await anyio.wait_all_tasks_blocked()
        assert got == ["plain"]


async def test_work_that_is_to_give_the_answer_belongs_to_the_chain() -> None:
    async with TestSystem() as system:

        async def front(actor: Scripted, message: Any) -> Any:
            return await system.named("back").ask(actor.context.ref, timeout=5)

        async def back(actor: Scripted, front_ref: ActorRef) -> None:
            reply = actor.context.reply_later()

            async def ask_front() -> None:
                try:
                    await front_ref.ask("back again", timeout=5)
                except CallCycle as cycle:
                    reply.send(type(cycle).__name__)

            actor.context.start_soon(ask_front)

        ref = await start_once(system, front, "front")
        await start_once(system, back, "back", name="back")
        assert await ref.ask("go", timeout=5) == "CallCycle"


async def test_the_chain_names_who_waits_and_is_bounded() -> None:
    async with TestSystem() as system:
        depths: list[int] = []

        class Link(Actor):
            async def receive(self, message: int) -> Any:
                depths.append(len(self.context.metadata.call_chain))
                if message:
                    child = await self.context.start_child(ChildSpec("next", Link))
                    await child.ask(message - 1, timeout=10)

        first = await system.start(ChildSpec("first", Link))
        await first.ask(80, timeout=10)
        assert depths == [min(depth, 64) for depth in range(81)]


async def test_the_request_id_goes_on_with_tells_and_asks_and_background_work() -> None:
    async with TestSystem() as system:
        seen: list[Metadata] = []

        async def last(actor: Scripted, _message: Any) -> None:
            seen.append(actor.context.metadata)

        async def first(actor: Scripted, _message: Any) -> None:
            target = system.named("last")
            target.tell(1)
            await target.ask(2, timeout=5)

            async def more() -> None:
                target.tell(3)

            actor.context.start_soon(more)

        ref = await start_once(system, first, "first")
        await start_once(system, last, "last", name="last")
        assert ref.cell is not None
        ref.cell.deliver(1, None, Metadata(request_id="r-1", call_chain=("far/1",)))
        await anyio.wait_all_tasks_blocked()
        assert [metadata.request_id for metadata in seen] == ["r-1"] * 3
        assert [len(metadata.call_chain) for metadata in seen] == [0, 2, 0]


async def test_a_handler_knows_how_much_time_its_asker_has_left() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:

        async def left(actor: Scripted, _message: Any) -> Any:
            return actor.context.remaining()

        ref = await start_once(system, left)
        assert await ref.ask(1, timeout=5) == 5
        none: list[float | None] = []

        async def tell(actor: Scripted, _message: Any) -> None:
            none.append(actor.context.remaining())

        other = await start_once(system, tell, "b")
        other.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert none == [None]
