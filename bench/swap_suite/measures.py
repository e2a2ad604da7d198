"""What is measured of systems that have more models than room."""

from __future__ import annotations

from bench.harness.measures import Measure, rate

MEASURES = {
    measure.name: measure
    for measure in (
        rate("rps", "requests answered per second"),
        Measure("wait_p50_s", "median of a request's time", "s", higher_is_better=False),
        Measure("wait_p99_s", "99th percentile of a request's time", "s", higher_is_better=False),
        Measure("switches", "engines started", "", higher_is_better=False),
        Measure(
            "requests_per_switch", "requests answered for each engine started", "", higher_is_better=True
        ),
        Measure("errors", "requests that failed", "", higher_is_better=False),
    )
}
