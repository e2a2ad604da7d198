"""What is measured of a head, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.harness.measures import Measure
from bench.harness.targets import Judged, at_least, at_most


def _measure(name: str, text: str, unit: str, *, more: bool = False) -> Measure:
    return Measure(name, text, unit, higher_is_better=more)


MEASURES: Final = {
    measure.name: measure
    for measure in (
        _measure("step_p99_us", "one report of one replica, 99th percentile", "µs"),
        _measure("place_p99_us", "a step that gives a replica a place, 99th percentile", "µs"),
        _measure("events_s", "events that were handled", "1/s", more=True),
        _measure("cpu_share", "processor of the head while reports came", "cores"),
        _measure("loop_hold_max_ms", "the longest hold of its loop while reports came", "ms"),
        _measure("status_ms", "a question for the status while reports came, 99th percentile", "ms"),
        _measure("scale_p99_ms", "first held request until a worker has the order, 99th percentile", "ms"),
        _measure("scale_missed", "first held requests that brought no order", ""),
        _measure("demand_p99_us", "one change of demand, 99th percentile", "µs"),
        _measure("demand_s", "changes of demand that were handled", "1/s", more=True),
        _measure("demand_cpu_share", "processor of the head while demand changed", "cores"),
        _measure("demand_hold_ms", "the longest hold of its loop while demand changed", "ms"),
        _measure("demand_status_ms", "a question for the status while demand changed, 99th percentile", "ms"),
        _measure("rejoin_s", "all workers lost and back: until all have their orders", "s"),
        _measure("adopt_s", "head killed and restarted: until all have their orders", "s"),
        _measure("rss_mib", "the most memory that the head held", "MiB"),
        _measure("growth", "a report's step, median, over that of a small cluster", "x"),
        _measure("rejoin_started", "replicas started because links were lost", ""),
        _measure("rejoin_stopped", "replicas stopped because links were lost", ""),
        _measure("adopt_started", "replicas started because the head was restarted", ""),
        _measure("adopt_stopped", "replicas stopped because the head was restarted", ""),
        _measure("step_p50_us", "one report of one replica, median", "µs"),
        _measure("step_cpu_p99_us", "one report of one replica, processor, 99th percentile", "µs"),
        _measure("step_max_us", "one report of one replica, longest", "µs"),
        _measure("place_p50_us", "a step that gives a replica a place, median", "µs"),
        _measure("place_cpu_p99_us", "a step that places, processor, 99th percentile", "µs"),
        _measure("placements", "steps that gave a replica a place", "", more=True),
        _measure("offered_s", "events that were offered", "1/s", more=True),
        _measure(
            "loop_hold_cpu_ms",
            "the most processor time between two turns of its loop while reports came",
            "ms",
        ),
        _measure("collection_ms", "the longest garbage collection under load, processor", "ms"),
        _measure("scale_p50_ms", "first held request until a worker has the order, median", "ms"),
        _measure("scale_max_ms", "first held request until a worker has the order, longest", "ms"),
        _measure("scaled", "first held requests that brought an order", "", more=True),
        _measure("demand_cpu_p99_us", "one change of demand, processor, 99th percentile", "µs"),
        _measure("demand_offered_s", "changes of demand that were offered", "1/s", more=True),
        _measure(
            "demand_hold_cpu_ms",
            "the most processor time between two turns of its loop while demand changed",
            "ms",
        ),
        _measure("place_hold_ms", "the longest hold while replicas were placed", "ms"),
        _measure(
            "place_hold_cpu_ms", "the most processor time between two turns while replicas were placed", "ms"
        ),
        _measure("rejoin_hold_ms", "the longest hold while all workers came back", "ms"),
        _measure(
            "rejoin_hold_cpu_ms",
            "the most processor time between two turns while all workers came back",
            "ms",
        ),
        _measure("adopt_hold_ms", "the longest hold of a restarted head", "ms"),
        _measure("adopt_hold_cpu_ms", "the most processor time between two turns of a restarted head", "ms"),
        _measure("adopt_process_s", "head killed and restarted: until it takes messages", "s"),
        _measure("setup_s", "first request to deploy until everything runs", "s"),
        _measure("dead_letters", "messages that the head's actors did not take", ""),
    )
}

HANDLED: Final = 0.99
"""The share of the events offered that is to be handled."""

LIMITS: Final = {
    "step_p99_us": 200.0,
    "place_p99_us": 2000.0,
    "cpu_share": 0.60,
    "loop_hold_max_ms": 20.0,
    "status_ms": 20.0,
    "scale_p99_ms": 50.0,
    "scale_missed": 0.0,
    "demand_p99_us": 200.0,
    "demand_cpu_share": 0.60,
    "demand_hold_ms": 20.0,
    "demand_status_ms": 20.0,
    "rejoin_s": 10.0,
    "adopt_s": 10.0,
    "rss_mib": 1024.0,
    "growth": 1.5,
    "rejoin_started": 0.0,
    "rejoin_stopped": 0.0,
    "adopt_started": 0.0,
    "adopt_stopped": 0.0,
}
"""By measure: the most that is wanted."""

NEVER: Final = ("adopt_started", "adopt_stopped")
"""Measures that must be 0 whatever is checked: a restarted head touches no engine."""


def judge(figures: Mapping[str, float], rate: float) -> list[Judged]:
    """Hold the figures of a head against what is wanted of it under so many events a second."""
    least = HANDLED * rate
    judged = {
        **{
            name: at_least(_target(name, f"≥ {least:g}"), figures.get(name), least)
            for name in ("events_s", "demand_s")
        },
        **{
            name: at_most(_target(name, f"≤ {limit:g}"), figures.get(name), limit)
            for name, limit in LIMITS.items()
        },
    }
    return [judged[name] for name in MEASURES if name in judged]


def _target(name: str, bound: str) -> str:
    measure = MEASURES[name]
    return f"{measure.text}: {bound} {measure.unit}".strip()


def broken(figures: Mapping[str, float]) -> list[str]:
    """Return what must never happen and did, as sentences."""
    return [
        f"{figures[name]:g} {MEASURES[name].text}: there must be none" for name in NEVER if figures.get(name)
    ]
