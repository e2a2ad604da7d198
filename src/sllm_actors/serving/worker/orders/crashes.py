"""When the actor of a replica that failed, which it never should, is started again. Pure.

An engine's end is the actor's own business; this is for mistakes of the actor. It is started again for ever,
like an engine, but never in a busy loop: whoever orders it again meanwhile changes nothing.
"""

from __future__ import annotations

from attrs import frozen

from sllm_actors.engines.retry import retry_delay

HEALTHY_UPTIME = 60.0
"""Seconds of running after which earlier failures are forgotten."""


@frozen
class Crash:
    """The last failure of one replica's actor.

    Attributes:
        failures: How many there were in a row.
        again_at: When the next actor may be started, by the same clock as ``now``.
        reason: What happened, in one sentence for a person.
    """

    failures: int
    again_at: float
    reason: str


def after_crash(before: Crash | None, reason: str, *, uptime: float, now: float, chance: float) -> Crash:
    """Return what is remembered of a failure.

    Args:
        before: The failure before this one, if there was one.
        uptime: For how many seconds the actor ran.
        chance: Between 0 and 1, drawn by the caller: for the jitter of the delay.
    """
    failures = 1 if before is None or uptime >= HEALTHY_UPTIME else before.failures + 1
    sentence = f"the actor that keeps this replica failed, which is a bug: {reason}"
    return Crash(failures, now + retry_delay(failures - 1, chance), sentence)
