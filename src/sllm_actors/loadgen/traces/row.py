"""One request of a trace, and what is said of a line that is wrong. Pure."""

from __future__ import annotations

from attrs import frozen


class WrongLine(Exception):
    """A line is not of its format; the text says what it should be."""


@frozen
class TraceRow:
    """One request.

    Attributes:
        at: Seconds, from whenever the trace counts them.
        model: What the trace says of the model or the client; None where it says nothing.
        input_tokens: Of the prompt; None where the trace does not say.
        output_tokens: Of the answer, in the same way.
        blocks: What the prompt is made of: two prompts with the same blocks in front begin alike.
        block_tokens: How many tokens a block stands for.
    """

    at: float
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
