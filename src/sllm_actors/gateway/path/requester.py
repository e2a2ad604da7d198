"""What a dispatch knows of, and tells, whoever wants the answer to a request."""

from __future__ import annotations

from typing import Protocol

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers

from .answers.relays import Relay


class Requester(Protocol):
    """Whoever wants the answer. After ``came``, ``completed`` and ``failed`` nothing more is told."""

    @property
    def in_stream(self) -> bool:
        """Whether the client has got the head of a response."""

    @property
    def answered(self) -> bool:
        """Whether the client has got a part of an answer: from then on no other replica can take over."""

    def held(self, seconds: float) -> None:
        """An engine gets the request now, which has waited so many seconds for engines, in all.

        Called again if it has waited once more.
        """

    @property
    def flowed_at(self) -> float:
        """When a part of the answer came last by the way of ``Dispatch.let_flow``; 0 if none has."""

    def passed_on(self, relay: Relay, data: bytes) -> None:
        """A piece of the answer, never empty, is for the client."""

    def came(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer is for the client, which has nothing yet."""

    def completed(self, relay: Relay, rest: bytes) -> None:
        """The answer is complete with ``rest``."""

    def failed(self, error: ApiError) -> None:
        """No answer comes, or none that is complete."""
