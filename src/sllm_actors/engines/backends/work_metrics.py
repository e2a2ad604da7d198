"""Which of an engine's metrics show how it works and how full it is, and reading them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

from attrs import frozen

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)(?:\s+-?\d+)?$")


@frozen
class Sample:
    """What an engine's metrics said at one time.

    Attributes:
        running: How many requests it is working on.
        worked: The sum of its work counters: it changes with every step of work.
        waiting: How many requests wait inside it.
        kv: Which part of its room for KV caches is taken, 0 to 1; of several cores, that of the fullest.
        counts: Whether there is a work counter: without one, ``worked`` says nothing.
    """

    running: float
    worked: float
    waiting: float = 0.0
    kv: float = 0.0
    counts: bool = True


@frozen
class WorkMetrics:
    """The names of the metrics that show how an engine works.

    Attributes:
        running: Gauges of requests that are worked on.
        counters: Counters of which at least one moves with every step of work.
        waiting: Gauges of requests that wait inside the engine; () where it tells none.
        kv: Gauges of which part of its room for KV caches is taken, 0 to 1; () where it tells none.
    """

    running: tuple[str, ...]
    counters: tuple[str, ...]
    waiting: tuple[str, ...] = ()
    kv: tuple[str, ...] = ()

    @classmethod
    def of_any(cls, *engines: WorkMetrics) -> WorkMetrics:
        """Return the names of several engines together, for a program that may be any of them."""
        return cls(
            running=tuple(name for each in engines for name in each.running),
            counters=tuple(name for each in engines for name in each.counters),
            waiting=tuple(name for each in engines for name in each.waiting),
            kv=tuple(name for each in engines for name in each.kv),
        )

    def read(self, exposition: str) -> Sample | None:
        """Read metrics in Prometheus's text format; None if no gauge of ``running`` is among them.

        Values of one metric with several labels are added, and so are those of several metrics; but of the
        parts of the room for KV caches, the greatest counts.
        """
        names = (*self.running, *self.counters, *self.waiting, *self.kv)
        found: dict[str, list[float]] = {}
        for line in exposition.splitlines():
            if line.startswith(names) and (match := _LINE.match(line)) is not None:
                try:
                    value = float(match[2])
                except ValueError:
                    continue
                if isfinite(value):
                    found.setdefault(match[1], []).append(value)
        if not any(name in found for name in self.running):
            return None

        def values(metrics: tuple[str, ...]) -> Iterator[float]:
            return (value for name in metrics for value in found.get(name, ()))

        return Sample(
            running=sum(values(self.running)),
            worked=sum(values(self.counters)),
            waiting=sum(values(self.waiting)),
            kv=max(values(self.kv), default=0.0),
            counts=any(name in found for name in self.counters),
        )
