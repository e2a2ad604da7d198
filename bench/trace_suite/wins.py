"""Whose figures are better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from .contenders import OURS
from .outcome import Outcome
from .policies import OTHERS, REFERENCE
from .sweep import Row

SLACK = 1.02
"""By what factor ours may take longer of GPUs and still count as taking no more."""


def beats(ours: Iterable[Outcome], other: Outcome, share: float = 1.0) -> bool:
    """Return whether some point of ours takes no more of GPUs, and at most ``share`` of the other's p99
    wait."""
    return any(
        each.gpu_seconds <= SLACK * other.gpu_seconds and each.wait_p99_s <= share * other.wait_p99_s
        for each in ours
    )


@frozen
class Verdict:
    """One workload.

    Attributes:
        workload: Its name.
        unbeaten: The others of whom no point of ours is as good.
        halved: The reference's policies of which some point of ours has half the p99 wait.
    """

    workload: str
    unbeaten: tuple[str, ...]
    halved: tuple[str, ...]

    @property
    def won(self) -> bool:
        """Whether for each other policy some point of ours is as good."""
        return not self.unbeaten


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Return the verdict on each workload, in the order of the rows; an oracle is nobody to be beaten."""
    found: dict[str, dict[str, list[Outcome]]] = {}
    for row in rows:
        found.setdefault(row.workload, {}).setdefault(row.contender.policy, []).append(row.outcome)
    return [_verdict(workload, by_policy) for workload, by_policy in found.items()]


def _verdict(workload: str, by_policy: Mapping[str, Sequence[Outcome]]) -> Verdict:
    ours = by_policy.get(OURS, ())
    others = {name: by_policy[name][0] for name in OTHERS if name in by_policy}
    return Verdict(
        workload,
        tuple(name for name, other in others.items() if not beats(ours, other)),
        tuple(name for name in REFERENCE if name in others and beats(ours, others[name], 0.5)),
    )
