"""Whether an engine makes progress: the third health check, after its process and its health path.

An engine is hung when its metrics show requests that are worked on, but no work counter moves. One whose
metrics have no such counter is never taken for hung.
"""

from __future__ import annotations

from attrs import field, frozen

from sllm_actors.engines.backends.work_metrics import Sample


@frozen
class Watch:
    """What the samples of an engine's metrics have shown so far; ``Watch()`` before the first.

    Attributes:
        worked: The sum of the work counters when it last changed.
        since: When that was seen, or when last no request ran; None before the first sample.
    """

    worked: float = 0.0
    since: float | None = field(default=None)

    def see(self, sample: Sample, now: float) -> Watch:
        """Return the watch after a sample that was taken at ``now`` (seconds, a monotonic clock)."""
        if not sample.counts:
            return Watch()
        if self.since is None or sample.running <= 0 or sample.worked != self.worked:
            return Watch(sample.worked, now)
        return self

    def standing(self, now: float) -> float:
        """Return for how many seconds requests have run without any progress."""
        return 0.0 if self.since is None else now - self.since
