"""The queue in front of an actor: bounded for messages, never closed to what supervision needs to say.

Lanes, in the order in which they are served: kill, stop, signals, messages. Only user messages are counted
against the limits. A ``Down`` travels among the messages, uncounted, because it must not overtake what was
delivered before it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Final, TypeAlias

from attrs import field, frozen, validators

from .exits import ExitReason

Entry: TypeAlias = tuple[Any, Any, Any, int]
"""A message, the port of its answer (or None), its metadata, its weight in bytes (0: a notice, uncounted)."""


class Lane(Enum):
    """What ``Mailbox.take`` returns when there is something more urgent than an entry."""

    KILL = "kill"
    STOP = "stop"


@frozen
class MailboxLimits:
    """What a mailbox holds before it rejects.

    Attributes:
        messages: How many user messages may wait.
        bytes: How many bytes they may weigh together, by the estimate of ``weight.weigh``. A message that
            alone weighs more is always rejected.
    """

    messages: int = field(default=10_000, validator=validators.ge(1))
    bytes: int = field(default=64 * 2**20, validator=validators.ge(1))


DEFAULT_LIMITS: Final = MailboxLimits()


class Mailbox:
    """Pure state: who wakes the actor, and what an entry means, is the cell's business."""

    __slots__ = ("_held", "_max_bytes", "_max_messages", "_messages", "_signals", "_weight", "kill", "stop")

    def __init__(self, limits: MailboxLimits = DEFAULT_LIMITS) -> None:
        self._max_messages = limits.messages
        self._max_bytes = limits.bytes
        self._messages: deque[Entry] = deque()
        self._signals: deque[Entry] | None = None
        self._held = 0
        self._weight = 0
        self.kill = False
        self.stop: ExitReason | None = None

    def offer(self, entry: Entry) -> bool:
        """Queue a user message; False when either limit forbids it (nothing is queued then)."""
        weight = self._weight + entry[3]
        if self._held >= self._max_messages or weight > self._max_bytes:
            return False
        self._held += 1
        self._weight = weight
        self._messages.append(entry)
        return True

    def insert(self, notice: Any) -> None:
        """Queue a notice behind the messages that are here already, whatever the limits say."""
        self._messages.append((notice, None, None, 0))

    def signal(self, notice: Any) -> None:
        """Queue a notice in front of all messages, behind earlier signals."""
        if self._signals is None:
            self._signals = deque()
        self._signals.append((notice, None, None, 0))

    def take(self) -> Entry | Lane | None:
        """Return what is to be done next; None when there is nothing. Kill and stop stay until the end."""
        if self.kill:
            return Lane.KILL
        if self.stop is not None:
            return Lane.STOP
        if self._signals:
            return self._signals.popleft()
        if not self._messages:
            return None
        entry = self._messages.popleft()
        weight = entry[3]
        if weight:
            self._held -= 1
            self._weight -= weight
        return entry

    def clear(self) -> list[Entry]:
        """Empty the lanes of signals and messages; return the user messages that were in them, in order."""
        left = [entry for entry in self._messages if entry[3]]
        self._messages.clear()
        self._signals = None
        self._held = self._weight = 0
        return left

    @property
    def pending(self) -> bool:
        """Whether ``take`` would return something."""
        return bool(self._messages or self._signals or self.kill or self.stop is not None)

    @property
    def held(self) -> int:
        """How many user messages wait."""
        return self._held

    @property
    def weight(self) -> int:
        """How many bytes they weigh together."""
        return self._weight
