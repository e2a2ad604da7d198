"""Asking the head, and passing on what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import frozen
from quart import Response

from sllm_actors.actors import ActorSystem, AskError, NodeId
from sllm_actors.gateway import errors
from sllm_actors.serving.keys.messages import KeyRequest
from sllm_actors.serving.loading.messages import LoadingRequest
from sllm_actors.serving.messages import (
    CONTROLLER,
    ControlAnswer,
    ControlChange,
    Done,
    Refusal,
)
from sllm_actors.serving.pulls.messages import PlanPull
from sllm_actors.serving.refusals import as_error
from sllm_actors.serving.views.messages import JournalQuestion, Question

ControlRequest: TypeAlias = ControlChange | LoadingRequest | KeyRequest | Question | JournalQuestion
HeadNode = Callable[[], NodeId | None]


@frozen
class Control:
    """Asks the head.

    Attributes:
        system: The node's actor system.
        head_node: Returns the head's node id, or None while there is no link to it.
        timeout: Seconds that the head has for its answer.
    """

    system: ActorSystem
    head_node: HeadNode
    timeout: float

    async def ask(self, question: ControlRequest) -> Response:
        """Return the document that the head answers with, as a response.

        Its status is 202 for what has begun and ends by itself, else 200.

        Raises:
            ApiError: The head refused, or did not answer (503 ``head_unavailable``).
        """
        answer = await self.answer(question)
        if not isinstance(answer, Done):
            raise errors.head_away(f"it answered with a {type(answer).__name__}")
        return passed_on(answer)

    async def answer(self, question: ControlRequest | PlanPull, patience: float = 0.0) -> Any:
        """Return what the head answers.

        Args:
            question: The question.
            patience: Seconds that the head may take beyond ``timeout``.

        Raises:
            ApiError: As ``ask``.
        """
        node = self.head_node()
        if node is None:
            raise errors.head_away("there is no link to it")
        timeout = self.timeout + patience
        try:
            answer = await self.system.named(CONTROLLER, node).ask(question, timeout=timeout)
        except AskError as error:
            raise errors.head_away(str(error)) from None
        if isinstance(answer, Refusal):
            raise as_error(answer)
        return answer


def passed_on(answer: ControlAnswer) -> Response:
    """Return an answer as a response; see ``Control.ask``."""
    if isinstance(answer, Refusal):
        raise as_error(answer)
    return Response(answer.document, 202 if answer.pending else 200, content_type="application/json")
