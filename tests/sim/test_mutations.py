"""The simulation finds bugs: each deliberate one of ``mutations.py`` breaks a promise within some seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .mutations import MUTATIONS
from .sweep import Sweep

pytestmark = [
    pytest.mark.allow_blocking,  # it waits for other processes
    pytest.mark.timeout(300),
    pytest.mark.slow,
]
SEEDS = range(1, 201)
AT_A_TIME = 6

FOUND_BY = {
    "control_is_lost": 17,
    "control_is_repeated": 41,
    "down_is_lost_with_its_lane": 87,
    "down_overtakes": 4,
    "mailboxes_are_larger": 2,
}
"""The seed that found a bug which few find: it is tried first. It is only a guess, which saves time."""


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    with Sweep() as sweep:
        yield sweep


@pytest.mark.parametrize("mutation", sorted(filter(None, MUTATIONS)))
def test_a_deliberate_bug_is_found(mutation: str, sweep: Sweep) -> None:
    batches = [range(first, first + AT_A_TIME) for first in range(SEEDS.start, SEEDS.stop, AT_A_TIME)]
    for batch in [(FOUND_BY.get(mutation, 1),), *batches]:
        if any(summary.violations for summary in sweep.run(batch, mutation)):
            return
    pytest.fail(f"none of the seeds {SEEDS.start} to {SEEDS.stop - 1} found {mutation}")
