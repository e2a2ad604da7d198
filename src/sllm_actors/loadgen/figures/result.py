"""What became of one request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define


@define
class RequestResult:
    """One request that has ended. Times are in seconds from the beginning of the run.

    Attributes:
        model: Which it was for.
        due: When it was to be sent: all latencies count from here, so that a generator that is late, or a
            server that lets nobody in, hides nothing (coordinated omission).
        begun: When the generator took it up; that is late only where the generator itself is.
        sent: When it was written to a connection; as ``ended`` where it never was.
        first: When the first token of a streamed answer came, or None.
        last: When the last one came.
        ended: When the answer was whole, or the request had failed.
        gaps: Seconds between the events of a stream that brought tokens.
        input_tokens: Of the prompt, as the server counts them.
        output_tokens: Of the answer.
        status: The HTTP status; 0 where none came.
        hold: Seconds for which the server held the request before an engine had it, by its own account; None
            where it says nothing of it.
        error: In a few words what kind of failure it was; "" for none.
        reason: What is known about it beside, or "".
        hung_up: Whether the client left on purpose, before the answer was whole.
        interrupted: Whether the run was ended before the answer was whole.
    """

    model: str
    due: float
    begun: float
    sent: float
    first: float | None
    last: float
    ended: float
    gaps: Sequence[float]
    input_tokens: int
    output_tokens: int
    status: int
    hold: float | None = None
    error: str = ""
    reason: str = ""
    hung_up: bool = False
    interrupted: bool = False

    @property
    def good(self) -> bool:
        """Whether the client got the whole answer."""
        return not (self.error or self.hung_up or self.interrupted)

    @property
    def ttft(self) -> float | None:
        """Seconds to the first token, or None where there was no stream."""
        return None if self.first is None else self.first - self.due

    @property
    def e2e(self) -> float:
        """Seconds to the end of the answer."""
        return self.ended - self.due

    @property
    def tpot(self) -> float | None:
        """Seconds per token after the first one, or None where that cannot be told."""
        if self.first is None or self.output_tokens < 2:
            return None
        return (self.last - self.first) / (self.output_tokens - 1)
