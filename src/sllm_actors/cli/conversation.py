"""What has been said in a chat, as the messages that the model gets. Pure."""

from __future__ import annotations

from collections import deque

LONGEST_MEMORY = 100
"""Exchanges (a question and its answer) that are remembered; the oldest are forgotten first."""

Message = dict[str, str]
"""A message of OpenAI's chat API: ``role`` and ``content``."""


class Conversation:
    """The exchanges of a chat so far.

    Args:
        system: The system message, which goes before all others; None for none.
    """

    def __init__(self, system: str | None = None) -> None:
        self._system = system
        self._exchanges: deque[tuple[str, str]] = deque(maxlen=LONGEST_MEMORY)

    def add(self, question: str, answer: str) -> None:
        """Remember an exchange; one without an answer is not remembered, as it may be asked again."""
        if answer:
            self._exchanges.append((question, answer))

    def messages_with(self, question: str) -> list[Message]:
        """Return the messages of a request: the system message, all that is remembered, and the question."""
        messages = [{"role": "system", "content": self._system}] if self._system else []
        for asked, answered in self._exchanges:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answered})
        messages.append({"role": "user", "content": question})
        return messages
