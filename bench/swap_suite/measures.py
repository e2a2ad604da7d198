"""What is measured of systems that have more models than room."""

from __future__ import annotations

from bench.harness.measures import Measure
from bench.scenarios.asking import MEASURES as ASKED

MEASURES = ASKED | {
    measure.name: measure
    for measure in (
        Measure("switches", "engines started", "", higher_is_better=False),
        Measure(
            "requests_per_switch", "requests answered for each engine started", "", higher_is_better=True
        ),
    )
}
