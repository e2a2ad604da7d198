"""The simulation finds bugs: each deliberate one of ``mutations.py`` breaks a promise within some seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .mutations import MUTATIONS
from .sweep import Sweep

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(300)]  # it waits for other processes
SEEDS = range(1, 201)
AT_A_TIME = 6


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    with Sweep() as sweep:
        yield sweep


@pytest.mark.parametrize("mutation", sorted(filter(None, MUTATIONS)))
def test_a_deliberate_bug_is_found(mutation: str, sweep: Sweep) -> None:
    for first in range(SEEDS.start, SEEDS.stop, AT_A_TIME):
        if any(summary.violations for summary in sweep.run(range(first, first + AT_A_TIME), mutation)):
            return
    pytest.fail(f"none of the seeds {SEEDS.start} to {SEEDS.stop - 1} found {mutation}")
