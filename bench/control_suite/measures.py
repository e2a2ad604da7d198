"""What is measured of a head, and what is wanted of it."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from bench.harness.measures import Measure


def _measure(name: str, text: str, unit: str, *, more: bool = False) -> Measure:
    return Measure(name, text, unit, higher_is_better=more)


MEASURES: Final = {
    measure.name: measure
    for measure in (
        _measure("step_p99_us", "one report of one replica, 99th percentile", "µs"),
        _measure("place_p99_us", "a step that gives a replica a place, 99th percentile", "µs"),
        _measure("events_s", "events that were handled", "1/s", more=True),
        _measure("cpu_share", "processor of the head while it handled them", "cores"),
        _measure("loop_hold_max_ms", "the longest hold of its loop meanwhile", "ms"),
        _measure("status_ms", "a question for the status meanwhile, 99th percentile", "ms"),
        _measure("scale_p99_ms", "first held request until a worker has the order, 99th percentile", "ms"),
        _measure("scale_missed", "first held requests that brought no order", ""),
        _measure("demand_p99_us", "one change of demand, 99th percentile", "µs"),
        _measure("demand_s", "changes of demand that were handled", "1/s", more=True),
        _measure("demand_cpu_share", "processor of the head while it handled them", "cores"),
        _measure("demand_hold_ms", "the longest hold of its loop meanwhile", "ms"),
        _measure("demand_status_ms", "a question for the status meanwhile, 99th percentile", "ms"),
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
        _measure("loop_hold_cpu_ms", "the most processor time between two turns of its loop", "ms"),
        _measure("collection_ms", "the longest garbage collection under load, processor", "ms"),
        _measure("scale_p50_ms", "first held request until a worker has the order, median", "ms"),
        _measure("scale_max_ms", "first held request until a worker has the order, longest", "ms"),
        _measure("scaled", "first held requests that brought an order", "", more=True),
        _measure("demand_cpu_p99_us", "one change of demand, processor, 99th percentile", "µs"),
        _measure("demand_offered_s", "changes of demand that were offered", "1/s", more=True),
        _measure("demand_hold_cpu_ms", "the most processor time between two turns meanwhile", "ms"),
        _measure("place_hold_ms", "the longest hold while replicas were placed", "ms"),
        _measure("place_hold_cpu_ms", "the same, processor", "ms"),
        _measure("rejoin_hold_ms", "the longest hold while all workers came back", "ms"),
        _measure("rejoin_hold_cpu_ms", "the same, processor", "ms"),
        _measure("adopt_hold_ms", "the longest hold of a restarted head", "ms"),
        _measure("adopt_hold_cpu_ms", "the same, processor", "ms"),
        _measure("adopt_process_s", "the part of adopt_s until the head takes messages", "s"),
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


@frozen
class Verdict:
    """A target and what was measured.

    Attributes:
        target: What is wanted, in words.
        met: None where nothing was measured.
    """

    measure: str
    target: str
    found: float | None
    met: bool | None


def judge(figures: dict[str, float], rate: float) -> list[Verdict]:
    """Hold the figures of a head against what is wanted of it under so many events a second."""
    least = HANDLED * rate
    verdicts = []
    for name in ("events_s", "demand_s"):
        found = figures.get(name)
        verdicts.append(Verdict(name, f"≥ {least:g}", found, None if found is None else found >= least))
    for name, limit in LIMITS.items():
        found = figures.get(name)
        verdicts.append(Verdict(name, f"≤ {limit:g}", found, None if found is None else found <= limit))
    return sorted(verdicts, key=lambda verdict: list(MEASURES).index(verdict.measure))


def broken(figures: dict[str, float]) -> list[str]:
    """Return what must never happen and did, as sentences."""
    return [
        f"{figures[name]:g} {MEASURES[name].text}: there must be none" for name in NEVER if figures.get(name)
    ]
