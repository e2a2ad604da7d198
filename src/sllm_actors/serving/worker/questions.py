"""Answering questions beside an actor's turns, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from sllm_actors.actors import ActorRef, Context, MailboxFull, Reply
from sllm_actors.engines.messages import ConfirmEngine, EngineConfirmed

log = structlog.get_logger("sllm_actors.worker")

MAX_QUESTIONS: Final = 64
"""The most questions that are answered at a time; others are refused."""

CONFIRM_TIMEOUT: Final = 5.0
"""Seconds that a replica gets to say whether it serves; it takes less than one."""


async def confirm(replica: ActorRef | None, question: ConfirmEngine) -> EngineConfirmed:
    """Answer whether an engine life serves, by asking its replica; None: the worker has it no longer."""
    if replica is None:
        return EngineConfirmed(reason="its replica was stopped")
    answer: EngineConfirmed = await replica.ask(question, timeout=CONFIRM_TIMEOUT)
    return answer


class Questions:
    """Answers questions in tasks, so that a slow or failing answer disturbs nothing else of the actor.

    Args:
        context: The actor's.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open = 0

    def answer(self, find: Callable[[], Awaitable[Any]]) -> None:
        """Answer the ask that is handled now with what ``find`` returns, or with what it raises."""
        reply = self._context.reply_later()
        if self._open >= MAX_QUESTIONS:
            reply.fail(MailboxFull("this worker answers too many questions already"))
            return
        self._open += 1
        self._context.start_soon(self._find, find, reply)

    async def _find(self, find: Callable[[], Awaitable[Any]], reply: Reply) -> None:
        try:
            reply.send(await find())
        except Exception as error:  # noqa: BLE001 - whatever a question meets, its asker is told
            log.warning("worker.question_failed", error=f"{type(error).__name__}: {error}"[:300])
            reply.fail(error)
        finally:
            self._open -= 1
