"""Asks workers whether engines serve: one question at a time about each, however many requests wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, TypeAlias

from attrs import define, field

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.engines.messages import EngineConfirmed

AskWorker: TypeAlias = Callable[[ReplicaId], Awaitable[EngineConfirmed | None]]
"""Asks the worker of an engine with ``ConfirmEngine``; None where no answer came in time. Raises nothing."""

Then: TypeAlias = Callable[[Mapping[ReplicaId, EngineConfirmed]], None]
"""Takes the answers that have come. Must not raise."""

StartTask: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Starts a task that somebody owns."""


@define(eq=False)
class _Waiting:
    """A request that waits for answers.

    Attributes:
        missing: The engines of which no answer has come yet.
        then: Called when none is missing.
        answers: Those that have come.
    """

    missing: set[ReplicaId]
    then: Then
    answers: dict[ReplicaId, EngineConfirmed] = field(factory=dict)

    def answered(self, replica: ReplicaId, answer: EngineConfirmed | None) -> None:
        if answer is not None:
            self.answers[replica] = answer
        self.missing.discard(replica)
        if not self.missing:
            self.then(self.answers)


class Confirmations:
    """Questions that requests have about engines.

    A request may join a question that is under way only if that ends badly: an answer that an engine serves
    was perhaps found before the engine broke, so for such a request it is asked once more. When the owner of
    the tasks is cancelled, requests that wait hear nothing.

    Args:
        ask: Asks a worker.
        start: Starts the tasks that wait for workers, one for each engine that is asked about.
        died: Told of each engine that has died. Must not raise.
    """

    def __init__(self, ask: AskWorker, start: StartTask, died: Callable[[ReplicaId], None]) -> None:
        self._ask = ask
        self._start = start
        self._died = died
        self._waiting: dict[ReplicaId, list[_Waiting]] = {}

    def confirm(self, replicas: Collection[ReplicaId], then: Then) -> None:
        """Ask about engines, and call ``then`` with the answers, never before this has returned."""
        waiting = _Waiting(set(replicas), then)
        for replica in replicas:
            others = self._waiting.get(replica)
            if others is None:
                self._waiting[replica] = [waiting]
                self._start(partial(self._question, replica))
            else:
                others.append(waiting)

    async def _question(self, replica: ReplicaId) -> None:
        try:
            while asking := self._waiting[replica]:
                later = self._waiting[replica] = []
                answer = await self._ask(replica)
                if answer is None or not answer.serving:
                    asking = asking + later
                    later.clear()
                if answer is not None and answer.died:
                    self._died(replica)
                for waiting in asking:
                    waiting.answered(replica, answer)
        finally:
            del self._waiting[replica]
