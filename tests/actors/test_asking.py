"""An ask comes to exactly one end: the reply, or one typed error, by its deadline."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    TEMPORARY,
    Actor,
    ActorGone,
    ActorRef,
    AskTimeout,
    CallCycle,
    ChildSpec,
    MailboxFull,
    MailboxLimits,
    Metadata,
    RemoteFailure,
    Reply,
    UnknownMessage,
)
from sllm_actors.testing import ManualClock, TestSystem

pytestmark = pytest.mark.anyio


class Does(Actor):
    """Handles a message by a function of the test's."""

    def __init__(self, handler: Callable[[Does, Any], Awaitable[Any]]) -> None:
        self.handler = handler

    async def receive(self, message: Any) -> Any:
        return await self.handler(self, message)


Handler = Callable[[Does, Any], Awaitable[Any]]


async def start(system: TestSystem, handler: Handler, child_id: str = "a", **others: Any) -> ActorRef:
    return await system.start(ChildSpec(child_id, lambda: Does(handler), TEMPORARY, **others))


async def echo(_actor: Does, message: Any) -> Any:
    return message


async def hang(_actor: Does, _message: Any) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("value", [1, "x", None, (), ValueError("as a value")])
async def test_what_the_handler_returns_is_the_reply(value: Any) -> None:
    async with TestSystem() as system:
        ref = await start(system, echo)
        assert await ref.ask(value, timeout=5) is value


async def test_replies_find_their_askers_when_many_ask_at_once() -> None:
    async with TestSystem() as system:
        ref = await start(system, echo)
        got: dict[int, int] = {}

        async def ask(number: int) -> None:
            got[number] = await ref.ask(number, timeout=5)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, number)
        assert got == {number: number for number in range(200)}


async def test_an_ask_that_is_not_answered_in_time_fails_and_the_late_reply_is_counted() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:
        release = anyio.Event()

        async def slow(_actor: Does, _message: Any) -> None:
            await release.wait()

        ref = await start(system, slow)
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(AskTimeout):
                    await ref.ask(1, timeout=3)

            tasks.start_soon(ask)
            await clock.advance(2.9)
            assert system.statistics().pending_asks == 1
            await clock.advance(0.2)
            assert system.statistics().pending_asks == 0
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().late_replies == 1


@pytest.mark.parametrize("timeout", [0, -1.0])
async def test_without_time_left_nothing_is_sent(timeout: float) -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        with pytest.raises(AskTimeout, match="nothing was sent"):
            await probe.ref.ask(1, timeout=timeout)
        await probe.expect_nothing()


@pytest.mark.parametrize("timeout", [math.inf, math.nan])
async def test_an_ask_needs_a_finite_deadline(timeout: float) -> None:
    async with TestSystem() as system:
        probe = await system.probe()
        with pytest.raises(ValueError, match="finite"):
            await probe.ref.ask(1, timeout=timeout)


async def test_a_message_whose_asker_has_given_up_is_skipped() -> None:
    async with TestSystem() as system:
        handled: list[Any] = []
        release = anyio.Event()

        async def handle(_actor: Does, message: Any) -> None:
            handled.append(message)
            await release.wait()

        ref = await start(system, handle)
        ref.tell("first")
        with anyio.move_on_after(0.05):
            await ref.ask("cancelled", timeout=5)
        with pytest.raises(AskTimeout):
            await ref.ask("timed out", timeout=0.05)
        ref.tell("last")
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert handled == ["first", "last"]
        assert system.statistics().dead_letters_by_reason == {"its asker gave up first": 2}


async def test_a_full_mailbox_rejects_an_ask_and_makes_a_tell_a_dead_letter() -> None:
    async with TestSystem() as system:
        ref = await start(system, hang, mailbox=MailboxLimits(messages=2), shutdown=0)
        ref.tell(0)
        await anyio.wait_all_tasks_blocked()
        ref.tell(1)
        ref.tell(2)
        ref.tell(3)
        with pytest.raises(MailboxFull):
            await ref.ask(4, timeout=5)
        statistics = system.statistics()
        assert (statistics.queued_messages, statistics.deepest_mailbox) == (2, 2)
        assert statistics.dead_letters_by_reason == {"its mailbox is full": 2}


async def test_a_mailbox_is_bounded_by_bytes_too() -> None:
    async with TestSystem() as system:
        ref = await start(system, hang, mailbox=MailboxLimits(bytes=1000), shutdown=0)
        with pytest.raises(MailboxFull):
            await ref.ask(b"x" * 2000, timeout=5)


async def test_an_actor_that_has_ended_is_gone_by_ref_and_by_name() -> None:
    async with TestSystem() as system:
        ref = await start(system, echo, name="echo")
        assert await system.named("echo").ask(1, timeout=5) == 1
        await system.stop_child("a")
        with pytest.raises(ActorGone, match="it has ended"):
            await ref.ask(1, timeout=5)
        with pytest.raises(ActorGone, match="nobody goes by that name"):
            await system.named("echo").ask(1, timeout=5)


async def test_whoever_still_waits_when_the_actor_ends_is_told() -> None:
    async with TestSystem() as system:
        ref = await start(system, hang, shutdown=0)
        errors: list[ActorGone] = []

        async def ask() -> None:
            with pytest.raises(ActorGone) as caught:
                await ref.ask(1, timeout=5)
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await system.stop_child("a")
        assert sorted("while it handled" in str(error) for error in errors) == [False, True]


# ---- errors of handlers


async def test_an_exception_is_a_remote_failure_to_the_asker_and_ends_the_actor() -> None:
    async with TestSystem() as system:

        async def fail(_actor: Does, _message: Any) -> None:
            raise KeyError("what")

        ref = await start(system, fail)
        with pytest.raises(RemoteFailure) as caught:
            await ref.ask(1, timeout=5)
        assert (caught.value.type_name, caught.value.message) == ("KeyError", "'what'")
        with pytest.raises(ActorGone):
            await ref.ask(1, timeout=5)


@pytest.mark.parametrize(
    "answer", [RemoteFailure("NotFound", "no such thing"), MailboxFull("no more holds"), UnknownMessage("?")]
)
async def test_an_ask_error_that_the_handler_makes_is_the_answer_and_the_actor_lives(
    answer: Exception,
) -> None:
    async with TestSystem() as system:

        async def refuse(_actor: Does, message: Any) -> Any:
            if message == "refuse":
                raise answer
            return message

        ref = await start(system, refuse)
        with pytest.raises(type(answer)) as caught:
            await ref.ask("refuse", timeout=5)
        assert caught.value is answer
        ref.tell("refuse")
        with pytest.raises(type(answer)):  # the same object may be raised again
            await ref.ask("refuse", timeout=5)
        assert await ref.ask("alive", timeout=5) == "alive"


async def test_an_ask_error_that_the_handler_lets_through_is_a_failure() -> None:
    async with TestSystem() as system:

        async def pass_on(actor: Does, message: Any) -> Any:
            return await system.named("nobody").ask(message, timeout=5)

        ref = await start(system, pass_on)
        with pytest.raises(RemoteFailure) as caught:
            await ref.ask(1, timeout=5)
        assert caught.value.type_name == "ActorGone"
        with pytest.raises(ActorGone):
            await ref.ask(1, timeout=5)


async def test_a_reply_may_pass_on_an_error_but_not_its_promise() -> None:
    async with TestSystem() as system:

        async def pass_on(actor: Does, message: Any) -> None:
            reply = actor.context.reply_later()
            try:
                await actor.context.ref.ask(message, timeout=5)
            except CallCycle as error:
                reply.fail(error)

        ref = await start(system, pass_on)
        with pytest.raises(RemoteFailure) as caught:
            await ref.ask(1, timeout=5)
        assert caught.value.type_name == "CallCycle"


async def test_an_actor_that_knows_no_messages_says_so() -> None:
    async with TestSystem() as system:
        ref = await system.start(ChildSpec("a", Actor))
        with pytest.raises(UnknownMessage, match="Actor takes no str"):
            await ref.ask("hello", timeout=5)


# ---- replying later


async def test_a_reply_may_come_after_the_handler_has_gone_on() -> None:
    async with TestSystem() as system:
        replies: list[Reply] = []

        async def later(actor: Does, message: Any) -> Any:
            if message == "later":
                replies.append(actor.context.reply_later())
                return "ignored"
            replies.pop(0).send(message)
            return None

        ref = await start(system, later)
        got: list[Any] = []

        async def ask() -> None:
            got.append(await ref.ask("later", timeout=5))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert replies[0].wanted
            ref.tell("now")
        assert got == ["now"]


async def test_a_reply_can_fail_and_only_the_first_use_counts() -> None:
    async with TestSystem() as system:

        async def later(actor: Does, _message: Any) -> None:
            reply = actor.context.reply_later()
            reply.fail(OSError("disk full"))
            assert not reply.wanted
            reply.send("too late")

        ref = await start(system, later)
        with pytest.raises(RemoteFailure, match="OSError: disk full"):
            await ref.ask(1, timeout=5)
        assert system.statistics().late_replies == 1


async def test_a_reply_that_is_never_used_fails_when_the_actor_ends() -> None:
    async with TestSystem() as system:

        async def forget(actor: Does, _message: Any) -> None:
            actor.context.reply_later()
            actor.context.stop()

        ref = await start(system, forget)
        with pytest.raises(ActorGone, match="without an answer"):
            await ref.ask(1, timeout=5)


async def test_a_reply_to_a_tell_goes_nowhere() -> None:
    async with TestSystem() as system:
        wanted: list[bool] = []

        async def later(actor: Does, _message: Any) -> None:
            reply = actor.context.reply_later()
            wanted.append(reply.wanted)
            reply.send(1)

        ref = await start(system, later)
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert wanted == [False]


# ---- what travels beside the message


async def test_an_actor_that_asks_itself_is_told_of_the_cycle() -> None:
    async with TestSystem() as system:

        async def ask_self(actor: Does, message: Any) -> Any:
            try:
                await actor.context.ref.ask("again", timeout=5)
            except CallCycle as cycle:
                return str(cycle)

        ref = await start(system, ask_self)
        assert "waits, up the call chain local/" in await ref.ask("go", timeout=5)


async def test_a_cycle_through_others_is_found_and_a_name_does_not_hide_it() -> None:
    async with TestSystem() as system:

        async def via(actor: Does, message: list[str]) -> Any:
            if not message:
                return "done"
            try:
                return await system.named(message[0]).ask(message[1:], timeout=5)
            except CallCycle:
                return f"cycle at {message[0]}"

        first = await start(system, via, "a", name="a")
        await start(system, via, "b", name="b")
        await start(system, via, "c", name="c")
        assert await first.ask(["b", "c", "a"], timeout=5) == "cycle at a"
        assert await first.ask(["b", "c"], timeout=5) == "done"
        assert await first.ask(["b"], timeout=5) == "done"


async def test_tells_and_background_work_wait_for_nobody_so_they_make_no_cycle() -> None:
    async with TestSystem() as system:
        got: list[Any] = []

        async def handle(actor: Does, message: Any) -> Any:
            async def ask_back() -> None:
                got.append(await actor.context.ref.ask("plain", timeout=5))

            if message == "start":
                actor.context.start_soon(ask_back)
            return message

        ref = await start(system, handle)
        await ref.ask("start", timeout=5)
        await anyio.wait_all_tasks_blocked()
        assert got == ["plain"]


async def test_work_that_is_to_give_the_answer_belongs_to_the_chain() -> None:
    async with TestSystem() as system:

        async def front(actor: Does, message: Any) -> Any:
            return await system.named("back").ask(actor.context.ref, timeout=5)

        async def back(actor: Does, front_ref: ActorRef) -> None:
            reply = actor.context.reply_later()

            async def ask_front() -> None:
                try:
                    await front_ref.ask("back again", timeout=5)
                except CallCycle as cycle:
                    reply.send(type(cycle).__name__)

            actor.context.start_soon(ask_front)

        ref = await start(system, front, "front")
        await start(system, back, "back", name="back")
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

        async def last(actor: Does, _message: Any) -> None:
            seen.append(actor.context.metadata)

        async def first(actor: Does, _message: Any) -> None:
            target = system.named("last")
            target.tell(1)
            await target.ask(2, timeout=5)

            async def more() -> None:
                target.tell(3)

            actor.context.start_soon(more)

        ref = await start(system, first, "first")
        await start(system, last, "last", name="last")
        assert ref.cell is not None
        ref.cell.deliver(1, None, Metadata(request_id="r-1", call_chain=("far/1",)))
        await anyio.wait_all_tasks_blocked()
        assert [metadata.request_id for metadata in seen] == ["r-1"] * 3
        assert [len(metadata.call_chain) for metadata in seen] == [0, 2, 0]


async def test_a_handler_knows_how_much_time_its_asker_has_left() -> None:
    clock = ManualClock()
    async with TestSystem(clock=clock) as system:

        async def left(actor: Does, _message: Any) -> Any:
            return actor.context.remaining()

        ref = await start(system, left)
        assert await ref.ask(1, timeout=5) == 5
        none: list[float | None] = []

        async def tell(actor: Does, _message: Any) -> None:
            none.append(actor.context.remaining())

        other = await start(system, tell, "b")
        other.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert none == [None]
