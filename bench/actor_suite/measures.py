"""Everything that the actor benchmark measures, and what it wants to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from bench.harness.measures import Measure, latency, rate
from bench.harness.targets import Judged, at_least, at_most, quotient

MEASURES: Final[dict[str, Measure]] = {
    measure.name: measure
    for measure in (
        rate("local_tell_s", "tells delivered: bursts of 1000, then one that must come back"),
        rate("local_ask_s", "asks, one at a time"),
        rate("local_ask_64_s", "asks, 64 under way"),
        rate("local_fan_out_100_s", "100 actors asked at once"),
        rate("local_call_s", "calls through a local ref's short cut, without a message"),
        rate("remote_ask_s", "asks to another process, one at a time"),
        rate("remote_ask_64_s", "asks to another process, 64 under way"),
        rate("remote_tell_s", "tells to another process, delivered"),
        rate("remote_fan_out_100_s", "100 actors of another process asked at once"),
        rate("remote_ask_1k_s", "asks with 1 KB, one at a time"),
        rate("remote_ask_64_1k_s", "asks with 1 KB, 64 under way"),
        rate("remote_tell_1k_s", "tells with 1 KB, delivered"),
        rate("remote_ask_64k_s", "asks with 64 KB, one at a time"),
        rate("remote_ask_64_64k_s", "asks with 64 KB, 64 under way"),
        rate("remote_tell_64k_s", "tells with 64 KB, delivered"),
        rate("remote_ask_1m_s", "asks with 1 MB, one at a time"),
        rate("remote_ask_64_1m_s", "asks with 1 MB, 64 under way"),
        rate("remote_tell_1m_s", "tells with 1 MB, delivered"),
        latency("idle_p50_us", "median of a small ask to another process"),
        latency("idle_p99_us", "p99 of a small ask to another process"),
        latency("bulk_p50_us", "the median beside 64 messages of 1 MB over and over to another actor there"),
        latency("bulk_p99_us", "p99 beside them"),
        Measure("bulk_mb_s", "what flowed meanwhile", "MB/s", higher_is_better=True),
        Measure("actor_bytes", "resident memory of an idle actor", "bytes", higher_is_better=False),
        Measure(
            "spawn_100k_s", "starting 100,000 actors, each after the one before", "s", higher_is_better=False
        ),
        Measure("stop_100k_s", "stopping them", "s", higher_is_better=False),
        rate("started_s", "actors started"),
    )
}


@frozen
class Target:
    """What is wanted of sllm_actors on uvloop.

    Attributes:
        measure: Of ours.
        factor: How many times better than the reference it is to be, or, for ``limit``, the figure itself.
        peer: Whose same measure is the reference; None for ``of``.
        of: Our own measure that is the reference: ``measure`` is to be at most ``factor`` times that.
        limit: Whether ``factor`` is an absolute bound.
    """

    measure: str
    factor: float
    peer: str | None = None
    of: str | None = None
    limit: bool = False

    @property
    def text(self) -> str:
        """The target in words."""
        if self.peer is not None:
            return f"{self.measure} ≥ {self.factor:g} x {self.peer}"
        if self.of is not None:
            return f"{self.measure} ≤ {self.factor:g} x {self.of}"
        return f"{self.measure} ≤ {self.factor:,g}"


TARGETS: Final = (
    Target("local_tell_s", 4, peer="pykka"),
    Target("local_ask_s", 3, peer="pykka"),
    Target("local_ask_s", 2.5, peer="xoscar"),
    Target("remote_ask_s", 2, peer="xoscar"),
    Target("remote_ask_s", 5, peer="ray"),
    Target("remote_ask_64_s", 3, peer="xoscar"),
    Target("remote_ask_64_s", 15, peer="ray"),
    Target("bulk_p99_us", 5, of="idle_p99_us"),
    Target("actor_bytes", 4096, limit=True),
    Target("spawn_100k_s", 5, limit=True),
)


def judge(medians: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """Hold our figures on uvloop against the targets."""
    return [_judge(target, medians.get("uvloop", {}), medians) for target in TARGETS]


def _judge(target: Target, ours: Mapping[str, float], medians: Mapping[str, Mapping[str, float]]) -> Judged:
    mine = ours.get(target.measure)
    if target.limit:
        return at_most(target.text, mine, target.factor)
    if target.of is not None:
        return at_most(target.text, quotient(mine, ours.get(target.of)), target.factor, compares=True)
    theirs = medians.get(target.peer or "", {}).get(target.measure)
    if mine is None or theirs is None:
        return at_least(target.text, None, target.factor)
    gain = MEASURES[target.measure].gain(mine, theirs)
    return at_least(target.text, gain, target.factor, compares=True)
