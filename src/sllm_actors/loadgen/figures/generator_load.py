"""Whether it was the generator, and not the server, that was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

LATE: Final = 0.001
"""Seconds that a request may be sent late, as the 99th percentile."""

LATE_SHARE: Final = 0.1
"""Or the share of the median latency that it may be: who waits for seconds does not see some milliseconds."""

BUSY: Final = 0.85
"""The share of one processor core from which on a generator may be what limits the rate."""

TELLING: Final = 1.0
"""Seconds of a run below which the share of a core says nothing."""


@frozen
class GeneratorLoad:
    """What the generator itself did.

    Attributes:
        lag_p99: Seconds from when a request was due until it was sent, without waits for a connection; 99th
            percentile.
        latency_p50: The median of the latencies that were measured, in seconds; 0 where there is none.
        processor_share: Of one core.
        seconds: How long the run took.
        waited: Requests that waited because all connections were taken.
        connections: How many connections there may be.
    """

    lag_p99: float
    latency_p50: float
    processor_share: float
    seconds: float
    waited: int
    connections: int

    def warnings(self) -> Sequence[str]:
        """Return a sentence for each reason to believe that the generator was the bottleneck."""
        found = []
        if self.processor_share >= BUSY and self.seconds >= TELLING:
            found.append(
                f"the generator used {self.processor_share:.0%} of a processor core: the server may be able "
                "to do more; ask less of one process, or run several of them on other machines"
            )
        if self.lag_p99 > max(LATE, LATE_SHARE * self.latency_p50):
            found.append(
                f"the generator sent 1 % of the requests {self.lag_p99 * 1000:.1f} ms late or later: that is "
                "in the latencies; lower the rate, or leave more of the machine to the generator"
            )
        if self.waited:
            found.append(
                f"{self.waited} requests waited for one of the {self.connections} connections: "
                "that is in the latencies; raise --max-connections"
            )
        return found
