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
        """Return the body."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def release(self) -> None:
        """Count its bytes no longer; nothing is to be asked of it afterwards."""
        self._budget.give_back(self.size)
        self.size = 0
        self._parts = []
