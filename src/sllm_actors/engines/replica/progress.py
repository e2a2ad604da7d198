"""Whether an engine that says it is healthy gets on with its work: the third check of health.

An engine is hung when requests run in it and nothing that it counts moves. What it counts, it says in its
metrics.
"""

from __future__ import annotations

from attrs import field, frozen

from sllm_actors.engines.backends.work_metrics import Sample


@frozen
class Watch:
    """What is remembered of an engine's work; begin with the empty one.

    Attributes:
        worked: The counters when they moved last.
        since: When that was seen, or when nothing ran; None before the first sample.
    """

    worked: float = 0.0
    since: float | None = field(default=None)

    def see(self, sample: Sample, now: float) -> Watch:
        """Return what is remembered after a sample."""
        if self.since is None or sample.running <= 0 or sample.worked != self.worked:
            return Watch(sample.worked, now)
        return self

    def standing(self, now: float) -> float:
        """Return for how many seconds it has been at work without getting on."""
        return 0.0 if self.since is None else now - self.since
