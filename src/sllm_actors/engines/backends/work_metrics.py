"""Which of an engine's metrics show whether it makes progress, and reading them."""

from __future__ import annotations

import re

from attrs import frozen

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)(?:\s+-?\d+)?$")


@frozen
class Sample:
    """What an engine's metrics said at one time.

    Attributes:
        running: How many requests it is working on.
        worked: The sum of its work counters: it changes with every step of work.
    """

    running: float
    worked: float


@frozen
class WorkMetrics:
    """The names of the metrics that show whether an engine makes progress.

    Attributes:
        running: Gauges of requests that are worked on.
        counters: Counters of which at least one moves with every step of work.
    """

    running: tuple[str, ...]
    counters: tuple[str, ...]

    def read(self, exposition: str) -> Sample | None:
        """Read metrics in Prometheus's text format; None if no gauge of ``running`` is among them.

        Values of one metric with several labels are added, and so are those of several metrics.
        """
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
