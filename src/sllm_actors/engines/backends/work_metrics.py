"""Where an engine's metrics tell of its work, and what they say."""

from __future__ import annotations

import re

from attrs import frozen

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
