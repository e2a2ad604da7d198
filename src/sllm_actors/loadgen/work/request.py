"""One request of the load, before it is sent. Pure."""

from __future__ import annotations

from attrs import evolve, frozen


@frozen
class ChatMessage:
    """One message of a chat."""

    role: str
    content: str


@frozen
class LoadRequest:
    """What is asked.

    Attributes:
        at: When it is to be sent, in seconds from the beginning; a client of a closed loop sends it when it
            has the answer to its last one.
        model: Of which model.
        messages: The chat so far; the last one is the client's.
        output_tokens: How many tokens the answer may have.
        hangs_up: Whether the client leaves before the answer is whole.
        further: What the client says in the turns after this one.
    """

    at: float
    model: str
    messages: tuple[ChatMessage, ...]
    output_tokens: int
    hangs_up: bool = False
    further: tuple[str, ...] = ()

    def next_turn(self, answer: str) -> LoadRequest:
        """Return the client's next turn, after an answer; there must be one."""
        said = (ChatMessage("assistant", answer), ChatMessage("user", self.further[0]))
        return evolve(self, messages=(*self.messages, *said), further=self.further[1:])
