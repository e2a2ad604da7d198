"""Runs the subjects in interleaved rounds, group by group."""

from __future__ import annotations

from collections.abc import Sequence

from bench.harness.child import ChildFailed, run
from bench.harness.experiment import Experiment

from .subjects import GROUPS, Subject

PACKAGES = ("sllm-actors", "anyio", "attrs", "cattrs", "msgpack", "trio", "uvloop")

BASIS = "uvloop"
"""Whose figures the ratios are of."""


def measure(subjects: Sequence[Subject], experiment: Experiment, *, scale: str, rounds: int) -> None:
    """Measure all groups: group by group, and within a group round by round, one subject after the other."""
    for group in GROUPS:
        able = {subject.name: subject for subject in subjects if group in subject.groups}

        def once(name: str, group: str = group, able: dict[str, Subject] = able) -> dict[str, float]:
            done = run(able[name].child(group, scale))
            experiment.collected.use(name, done.cpu_seconds, done.peak_bytes)
            return done.figures

        experiment.collect(able, rounds, once, expected=ChildFailed, what=group, rotate=False)
