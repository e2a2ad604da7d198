"""Messages that reached nobody: each is counted, a few are logged."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

import structlog
from attrs import frozen

from .identity import Address

log = structlog.get_logger("sllm_actors.actors")

LOGGED_PER_SECOND: Final = 5
"""Dead letters that are logged in any one second; the next line then says how many were left out."""

KEPT: Final = 32
"""The latest dead letters that are kept, to be looked at."""

REASONS: Final = 64
"""Distinct reasons that have a count of their own; further ones count as "other"."""


@frozen
class DeadLetter:
    """One message that reached nobody. The message itself is not kept: it may hold secrets or be large."""

    target: Address
    message_type: str
    reason: str


class DeadLetters:
    """The dead letters of one system.

    Attributes:
        total: How many there were, ever.
        by_reason: The same, by reason.
        recent: The latest ``KEPT``.
    """

    __slots__ = ("_logged", "_second", "_unlogged", "by_reason", "recent", "total")

    def __init__(self) -> None:
        self.total = 0
        self.by_reason: Counter[str] = Counter()
        self.recent: deque[DeadLetter] = deque(maxlen=KEPT)
        self._second = -1
        self._logged = 0
        self._unlogged = 0

    def count(self, message: Any, target: Address, reason: str, now: float) -> None:
        """Count a message; log it unless this second (of ``now``) has had its ``LOGGED_PER_SECOND``."""
        self.total += 1
        self.by_reason[reason if reason in self.by_reason or len(self.by_reason) < REASONS else "other"] += 1
        letter = DeadLetter(target, type(message).__name__, reason)
        self.recent.append(letter)
        if int(now) != self._second:
            self._second = int(now)
            self._logged = 0
        if self._logged >= LOGGED_PER_SECOND:
            self._unlogged += 1
            return
        self._logged += 1
        left_out, self._unlogged = self._unlogged, 0
        log.info(
            "dead_letter", target=str(target), message=letter.message_type, reason=reason, not_logged=left_out
        )
