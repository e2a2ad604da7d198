"""The whole control plane on a clock that jumps: what must hold under seeded faults."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from tests.sim.ledger import Summary
from tests.sim.subjects import CONTROL, SUBJECTS
from tests.sim.sweep import Sweep, regressions

from .simulation import simulate

pytestmark = [
    pytest.mark.allow_blocking,  # it waits for other processes
    pytest.mark.timeout(600),  # the first seed may wait for all
    pytest.mark.slow,
]
SEEDS = range(1, 21)
REGRESSIONS = regressions(SUBJECTS[CONTROL].regressions)

Runs = dict[int, Future[Summary]]


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    """All seeds, under way in as many processes as there are cores."""
    with Sweep(subject=CONTROL) as sweep:
        yield {seed: sweep.submit(seed) for seed in dict.fromkeys([*REGRESSIONS, *SEEDS])}


@pytest.mark.parametrize("batch", range(SEEDS.start, SEEDS.stop, 10))
def test_the_control_plane_keeps_its_promises_under_faults(batch: int, runs: Runs) -> None:
    for seed in range(batch, batch + 10):
        judge(runs[seed].result())


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_once_failed_is_kept(seed: int, runs: Runs) -> None:
    judge(runs[seed].result())


def test_a_seed_is_one_run(runs: Runs) -> None:
    once, other = runs[3].result(), runs[4].result()
    assert simulate(3).hash == once.hash != other.hash


def judge(summary: Summary) -> None:
    lines = "\n".join([*summary.tail, *summary.violations])
    assert summary.violations == [], f"{lines}\nagain: make sim-control SEED={summary.seed}"
    assert summary.counts["answered"] > 2, f"nobody asked for anything in seed {summary.seed}"
