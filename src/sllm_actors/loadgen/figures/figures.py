"""All figures of a run. Pure, and of a fixed size: it may last as long as it likes."""

from __future__ import annotations

from attrs import define, field

from .goals import Goals
from .histogram import Durations
from .result import RequestResult
from .timeline import Timeline

MOST_KINDS = 32
"""Kinds of errors that are told apart; what comes after them is ``other``."""

MOST_MODELS = 64
"""Models that have figures of their own."""


@define
class ErrorKind:
    """One kind of failure: how often it happened, and what the server said the first time."""

    count: int = 0
    reason: str = ""


@define
class ModelFigures:
    """What one of several models answered."""

    answered: int = 0
    failed: int = 0
    ttft: Durations = field(factory=Durations)
    e2e: Durations = field(factory=Durations)


class Figures:
    """What the results of a run add up to.

    Args:
        goals: The limits that a good answer keeps, or None.
        models: The models that are asked; where there are several, the first ``MOST_MODELS`` have figures of
            their own.
        warm_up: Seconds at the beginning whose requests are left out.

    Attributes:
        ttft: To the first token, of streams that had one.
        itl: Between two events of a stream that brought tokens (inter-token latency).
        tpot: Per token after the first one, of whole streams.
        e2e: To the end, of whole answers.
        hold: In which the server held a request before an engine had it, of those that it says it held.
        lag: From when a request was due until the generator took it up.
        sent: Requests that have ended, however they did.
        answered: Whole answers.
        good: Whole answers that keep the goals.
        failed: Requests that failed.
        hung_up: Clients that left on purpose.
        interrupted: Requests under way when the run was ended.
        input_tokens: Of whole answers' prompts.
        output_tokens: Of all answers, as far as they came.
        errors: By kind.
        last: When the last request ended, in seconds from the beginning.
    """

    def __init__(self, goals: Goals | None, models: tuple[str, ...], warm_up: float = 0.0) -> None:
        self.goals = goals
        self.warm_up = warm_up
        self.ttft, self.itl, self.tpot, self.e2e, self.hold, self.lag = (Durations() for _ in range(6))
        self.sent = self.answered = self.good = self.failed = self.hung_up = self.interrupted = 0
        self.input_tokens = self.output_tokens = 0
        self.errors: dict[str, ErrorKind] = {}
        self.models = {each: ModelFigures() for each in models[:MOST_MODELS]} if len(models) > 1 else {}
        self.timeline = Timeline()
        self.last = 0.0

    @property
    def seconds(self) -> float:
        """From the end of the warm-up until the last request ended; at least a microsecond."""
        return max(1e-6, self.last - self.warm_up)

    def record(self, result: RequestResult) -> None:
        """Count one request that has ended."""
        if result.due < self.warm_up:
            return
        self.sent += 1
        self.last = max(self.last, result.ended)
        self.lag.record(result.begun - result.due)
        self.output_tokens += result.output_tokens
        self.timeline.record(result)
        if result.ttft is not None:
            self.ttft.record(result.ttft)
        if result.hold is not None:
            self.hold.record(result.hold)
        for gap in result.gaps:
            self.itl.record(gap)
        model = self.models.get(result.model)
        if model is not None:
            self._record_model(model, result)
        if result.good:
            self._record_answer(result)
        elif result.error:
            self.failed += 1
            self._record_error(result)
        elif result.hung_up:
            self.hung_up += 1
        else:
            self.interrupted += 1

    def _record_answer(self, result: RequestResult) -> None:
        self.answered += 1
        self.input_tokens += result.input_tokens
        self.e2e.record(result.e2e)
        if result.tpot is not None:
            self.tpot.record(result.tpot)
        if self.goals is not None and self.goals.met(result):
            self.good += 1

    def _record_error(self, result: RequestResult) -> None:
        name = result.error
        if name not in self.errors and len(self.errors) >= MOST_KINDS:
            name = "other"
        kind = self.errors.setdefault(name, ErrorKind(reason=result.reason))
        kind.count += 1

    @staticmethod
    def _record_model(model: ModelFigures, result: RequestResult) -> None:
        if result.ttft is not None:
            model.ttft.record(result.ttft)
        if result.good:
            model.answered += 1
            model.e2e.record(result.e2e)
        elif result.error:
            model.failed += 1
