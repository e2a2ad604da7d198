"""Whether an engine that says it is healthy gets on with its work: the third check of health.

An engine is hung when requests run in it and nothing that it counts moves. What it counts, it says in its
metrics.
"""

from __future__ import annotations

import re

from attrs import field, frozen

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)(?:\s+-?\d+)?$")


@frozen
class Sample:
    """What an engine's metrics say at one time.

    Attributes:
        running: Requests that it works on.
        worked: The sum of counters of which one moves with every step of its work.
    """

    running: float
    worked: float


@frozen
class WorkMetrics:
    """Where an engine's metrics tell of its work.

    Attributes:
        running: The gauges of requests that are worked on; figures of several labels are added.
        counters: The counters of its work.
    """

    running: tuple[str, ...]
    counters: tuple[str, ...]

    def read(self, exposition: str) -> Sample | None:
        """Read metrics in the text format of Prometheus; None where they do not tell of work."""
        found: dict[str, float] = {}
        for line in exposition.splitlines():
            if line.startswith((*self.running, *self.counters)):
                match = _LINE.match(line)
                if match is not None:
                    try:
                        found[match[1]] = found.get(match[1], 0.0) + float(match[2])
                    except ValueError:
                        continue
        if not any(name in found for name in self.running):
            return None
        return Sample(
            sum(found.get(name, 0.0) for name in self.running),
            sum(found.get(name, 0.0) for name in self.counters),
        )


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
