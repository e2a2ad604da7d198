"""Collects the body of a request, within bounds. Pure."""

from __future__ import annotations

from sllm_actors.api_error import ApiError
from sllm_actors.gateway import errors

from .budget import ByteBudget


class RequestBody:
    """The pieces of one body.

    Args:
        limit: The most bytes that it may have.
        budget: Counts the bytes that all requests hold together.
    """

    __slots__ = ("_budget", "_limit", "_parts", "size")

    def __init__(self, limit: int, budget: ByteBudget) -> None:
        self.size = 0
        self._limit = limit
        self._budget = budget
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> ApiError | None:
        """Take the next piece; return the error if that is too much."""
        if self.size + len(data) > self._limit:
            return errors.body_too_large(self._limit)
        if not self._budget.take(len(data)):
            return errors.overloaded()
        self.size += len(data)
        self._parts.append(data)
        return None

    def whole(self) -> bytes:
        """Return the body; from then on it is kept in one piece."""
        if len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def give(self) -> list[bytes]:
        """Return the pieces, which the caller keeps from now on, and which the budget still counts."""
        parts, self._parts, self.size = self._parts, [], 0
        return parts

    def replace(self, body: bytes) -> None:
        """Keep the body as it was decoded. The caller knows that the budget has room for it."""
        if body is not self._parts[0]:
            self._budget.give_back(self.size)
            self._parts, self.size = [body], len(body)
            self._budget.held += self.size

    def release(self) -> None:
        """Count its bytes no longer; nothing is to be asked of it afterwards."""
        self._budget.give_back(self.size)
        self.size = 0
        self._parts = []
