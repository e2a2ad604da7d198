"""What has been said in a chat, as the model gets to see it."""

from __future__ import annotations

from collections import deque

LONGEST_MEMORY = 100
"""Exchanges that are remembered; the oldest are forgotten first."""

Message = dict[str, str]


class Conversation:
    """The exchanges so far. An answer that never came leaves no trace: its question may be asked again.

    Args:
        system: What the model is told first, always.
    """

    def __init__(self, system: str | None = None) -> None:
        self._system = system
        self._exchanges: deque[tuple[str, str]] = deque(maxlen=LONGEST_MEMORY)

    def add(self, question: str, answer: str) -> None:
        """Remember an exchange, if there was an answer."""
        if answer:
            self._exchanges.append((question, answer))

    def messages_with(self, question: str) -> list[Message]:
        """Return everything that is remembered, and then the question."""
        messages = [{"role": "system", "content": self._system}] if self._system else []
        for asked, answered in self._exchanges:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answered})
        messages.append({"role": "user", "content": question})
        return messages
