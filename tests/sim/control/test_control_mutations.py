"""The simulation of the control plane finds bugs: each deliberate one breaks a promise within some seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sim.subjects import CONTROL
from tests.sim.sweep import Sweep

from .mutations import MUTATIONS

pytestmark = [
    pytest.mark.allow_blocking,  # it waits for other processes
    pytest.mark.timeout(300),
    pytest.mark.slow,
]
SEEDS = range(1, 31)
AT_A_TIME = 6

FOUND_BY = {
    "absence_stops": 6,
    "answers_before_it_writes": 4,
    "any_epoch_is_obeyed": 3,
    "beats_are_not_compared": 6,
    "demand_is_not_heard": 5,
    "gaps_are_not_noticed": 19,
    "gpus_stay_counted": 2,
    "links_are_not_looked_at": 6,
    "nobody_waits_for_requests": 4,
    "nothing_is_said_of_what_never_ran": 14,
    "room_is_not_offered": 4,
    "room_of_what_drains": 5,
    "strangers_are_stopped": 13,
}
"""The seed that found a bug first: it is tried first. It is only a guess, which saves time."""


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    with Sweep(subject=CONTROL) as sweep:
        yield sweep


@pytest.mark.parametrize("mutation", sorted(filter(None, MUTATIONS)))
def test_a_deliberate_bug_is_found(mutation: str, sweep: Sweep) -> None:
    batches = [range(first, first + AT_A_TIME) for first in range(SEEDS.start, SEEDS.stop, AT_A_TIME)]
    for batch in [(FOUND_BY.get(mutation, 1),), *batches]:
        if any(summary.violations for summary in sweep.run(batch, mutation)):
            return
    pytest.fail(f"none of the seeds {SEEDS.start} to {SEEDS.stop - 1} found {mutation}")
