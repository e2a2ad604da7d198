"""The queue in front of an actor: bounded for messages, never closed to what supervision needs to say.

Lanes, in the order in which they are served: kill, stop, signals, messages. Only user messages are counted
against the limits. A *notice* is an entry of the system's own: a timer is a signal; a ``Down`` travels among
the messages, uncounted, because it must not overtake what was delivered before it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Final, TypeAlias

from attrs import field, frozen, validators

from .exits import ExitReason

Entry: TypeAlias = tuple[Any, Any, Any, int]
"""A message, the port of its answer (or None), its metadata, its weight in bytes (0: a notice, uncounted)."""


class Urgent(Enum):
    """What ``Mailbox.take`` returns when there is something more urgent than an entry."""

    KILL = "kill"
    STOP = "stop"


class Overflow(Enum):
    """Which user messages a full mailbox refuses: each is a dead letter, and ``MailboxFull`` to its asker."""

    REJECT = "reject"  # the one that comes
    DROP_OLDEST = "drop_oldest"  # those that wait longest, until the one that comes has room


@frozen
class MailboxLimits:
    """How much a mailbox holds, and which messages it refuses when it is full.

    Attributes:
        messages: How many user messages may wait.
        bytes: How many bytes they may weigh together, by the estimate of ``weight.weigh``. A message that
            alone weighs more is always rejected.
        overflow: Which messages are refused when a limit is reached.
    """

    messages: int = field(default=10_000, validator=validators.ge(1))
    bytes: int = field(default=64 * 2**20, validator=validators.ge(1))
    overflow: Overflow = Overflow.REJECT


DEFAULT_LIMITS: Final = MailboxLimits()


class Mailbox:
    """Pure state: who wakes the actor, and what an entry means, is the cell's business.

    Attributes:
        messages: User messages, and the notices among them, in order.
        urgent: Whether ``take`` returns something else than the first of ``messages``: a kill, a stop or a
            signal.
        kill: Ordered by ``order_kill``; stays.
        stop: Why the actor is to stop, ordered by ``order_stop``; stays.
        weight: How many bytes the waiting user messages weigh together.
        most_bytes: How many bytes they may weigh together.
        room: How long ``messages`` may be: the limit, and the notices that are among them now.
        limits: The limits that the mailbox was made with.
        rejected: How many user messages were refused because of a limit, ever.
    """

    __slots__ = (
        "_notices",
        "_signals",
        "kill",
        "limits",
        "messages",
        "most_bytes",
        "rejected",
        "room",
        "stop",
        "urgent",
        "weight",
    )

    def __init__(self, limits: MailboxLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self.rejected = 0
        self.most_bytes = limits.bytes
        self.room = limits.messages
        self._notices = 0
        self._signals: deque[Entry] | None = None
        self.messages: deque[Entry] = deque()
        self.weight = 0
        self.urgent = False
        self.kill = False
        self.stop: ExitReason | None = None

    def offer(self, entry: Entry) -> bool:
        """Queue a user message; False when a limit forbids it or the mailbox is closed."""
        weight = self.weight + entry[3]
        messages = self.messages
        if weight > self.most_bytes or len(messages) >= self.room:
            return False
        self.weight = weight
        messages.append(entry)
        return True

    def overflow(self, entry: Entry) -> list[Entry]:
        """Apply the overflow policy to an entry that ``offer`` did not take; not for a closed mailbox.

        Returns:
            The entries that are refused: this one, or the oldest ones, whose place it has taken.
        """
        refused = [entry]
        if self.limits.overflow is Overflow.DROP_OLDEST and entry[3] <= self.most_bytes:
            refused.clear()
            while not self.offer(entry):
                refused.append(self._drop_oldest())
        self.rejected += len(refused)
        return refused

    def _drop_oldest(self) -> Entry:
        oldest, entry = next((place, each) for place, each in enumerate(self.messages) if each[3])
        del self.messages[oldest]
        self.weight -= entry[3]
        return entry

    def insert(self, notice: Any) -> None:
        """Queue a notice behind the messages that are here already, whatever the limits say."""
        self.messages.append((notice, None, None, 0))
        self._notices += 1
        self.room += 1

    def signal(self, notice: Any) -> None:
        """Queue a notice in front of all messages, behind earlier signals."""
        if self._signals is None:
            self._signals = deque()
        self._signals.append((notice, None, None, 0))
        self.urgent = True

    def order_stop(self, reason: ExitReason) -> None:
        """Let nothing but a kill be taken before the stop."""
        self.stop = reason
        self.urgent = True

    def order_kill(self) -> None:
        """Let nothing be taken before the kill."""
        self.kill = self.urgent = True

    def take(self) -> Entry | Urgent | None:
        """Return what is to be done next; None when there is nothing. Kill and stop stay until the end."""
        if self.kill:
            return Urgent.KILL
        if self.stop is not None:
            return Urgent.STOP
        if self._signals:
            entry = self._signals.popleft()
            self.urgent = bool(self._signals)
            return entry
        if not self.messages:
            return None
        entry = self.messages.popleft()
        if entry[3]:
            self.weight -= entry[3]
        else:
            self.took_notice()
        return entry

    def took_notice(self) -> None:
        """Account for a notice that the caller has taken from ``messages``."""
        self._notices -= 1
        self.room -= 1

    def close(self) -> list[Entry]:
        """Empty the lanes of signals and messages, and reject every message from now on.

        Returns:
            The user messages that were waiting, in order.
        """
        left = [entry for entry in self.messages if entry[3]]
        self.messages.clear()
        self._signals = None
        self._notices = self.weight = 0
        self.room = -1
        self.urgent = self.kill or self.stop is not None
        return left

    @property
    def pending(self) -> bool:
        """Whether ``take`` would return something."""
        return self.urgent or bool(self.messages)

    @property
    def held(self) -> int:
        """How many user messages wait."""
        return len(self.messages) - self._notices
