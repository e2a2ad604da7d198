"""An ask comes to exactly one end: the reply, or one typed error, by its deadline."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest

from sllm_actors.actors import (
    Actor,
    ActorGone,
    AskTimeout,
    CallCycle,
    ChildSpec,
    MailboxFull,
    MailboxLimits,
    RemoteFailure,
    Reply,
    UnknownMessage,
)
from sllm_actors.testing import ManualClock, TestSystem

from .scripted import Scripted, echo, hang, start_once

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("value", [1, "x", None, (), ValueError("as a value")])
async def test_what_the_handler_returns_is_the_reply(value: Any) -> None:
    async with TestSystem() as system:
        ref = await start_once(system, echo)
        assert await ref.ask(value, timeout=5) is value


async def test_replies_find_their_askers_when_many_ask_at_once() -> None:
    async with TestSystem() as system:
        ref = await start_once(system, echo)
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

        async def slow(_actor: Scripted, _message: Any) -> None:
            await release.wait()

        ref = await start_once(system, slow)
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

        async def handle(_actor: Scripted, message: Any) -> None:
            handled.append(message)
            await release.wait()

        ref = await start_once(system, handle)
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
        ref = await start_once(system, hang, mailbox=MailboxLimits(messages=2), shutdown=0)
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
        ref = await start_once(system, hang, mailbox=MailboxLimits(bytes=1000), shutdown=0)
        with pytest.raises(MailboxFull):
            await ref.ask(b"x" * 2000, timeout=5)


async def test_an_actor_that_has_ended_is_gone_by_ref_and_by_name() -> None:
    async with TestSystem() as system:
        ref = await start_once(system, echo, name="echo")
        assert await system.named("echo").ask(1, timeout=5) == 1
        await system.stop_child("a")
        with pytest.raises(ActorGone, match="it has ended"):
            await ref.ask(1, timeout=5)
        with pytest.raises(ActorGone, match="nobody goes by that name"):
            await system.named("echo").ask(1, timeout=5)


async def test_whoever_still_waits_when_the_actor_ends_is_told() -> None:
    async with TestSystem() as system:
        ref = await start_once(system, hang, shutdown=0)
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

        async def fail(_actor: Scripted, _message: Any) -> None:
            raise KeyError("what")

        ref = await start_once(system, fail)
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

        async def refuse(_actor: Scripted, message: Any) -> Any:
            if message == "refuse":
                raise answer
            return message

        ref = await start_once(system, refuse)
        with pytest.raises(type(answer)) as caught:
            await ref.ask("refuse", timeout=5)
        assert caught.value is answer
        ref.tell("refuse")
        with pytest.raises(type(answer)):  # the same object may be raised again
            await ref.ask("refuse", timeout=5)
        assert await ref.ask("alive", timeout=5) == "alive"


async def test_an_ask_error_that_the_handler_lets_through_is_a_failure() -> None:
    async with TestSystem() as system:

        async def pass_on(actor: Scripted, message: Any) -> Any:
            return await system.named("nobody").ask(message, timeout=5)

        ref = await start_once(system, pass_on)
        with pytest.raises(RemoteFailure) as caught:
            await ref.ask(1, timeout=5)
        assert caught.value.type_name == "ActorGone"
        with pytest.raises(ActorGone):
            await ref.ask(1, timeout=5)


async def test_a_reply_may_pass_on_an_error_but_not_its_promise() -> None:
    async with TestSystem() as system:

        async def pass_on(actor: Scripted, message: Any) -> None:
            reply = actor.context.reply_later()
            try:
                await actor.context.ref.ask(message, timeout=5)
            except CallCycle as error:
                reply.fail(error)

        ref = await start_once(system, pass_on)
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

        async def later(actor: Scripted, message: Any) -> Any:
            if message == "later":
                replies.append(actor.context.reply_later())
                return "ignored"
            replies.pop(0).send(message)
            return None

        ref = await start_once(system, later)
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

        async def later(actor: Scripted, _message: Any) -> None:
            reply = actor.context.reply_later()
            reply.fail(OSError("disk full"))
            assert not reply.wanted
            reply.send("too late")

        ref = await start_once(system, later)
        with pytest.raises(RemoteFailure, match="OSError: disk full"):
            await ref.ask(1, timeout=5)
        assert system.statistics().late_replies == 1


async def test_a_reply_that_is_never_used_fails_when_the_actor_ends() -> None:
    async with TestSystem() as system:

        async def forget(actor: Scripted, _message: Any) -> None:
            actor.context.reply_later()
            actor.context.stop()

        ref = await start_once(system, forget)
        with pytest.raises(ActorGone, match="without an answer"):
            await ref.ask(1, timeout=5)


async def test_a_reply_to_a_tell_goes_nowhere() -> None:
    async with TestSystem() as system:
        wanted: list[bool] = []

        async def later(actor: Scripted, _message: Any) -> None:
            reply = actor.context.reply_later()
            wanted.append(reply.wanted)
            reply.send(1)

        ref = await start_once(system, later)
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        assert wanted == [False]
