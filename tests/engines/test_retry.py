"""How long is waited before a retry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.retry import LONGEST_DELAY, retry_delay


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_within_its_bounds(delays: int, chance: float) -> None:
    assert 0.75 <= retry_delay(delays, chance) <= LONGEST_DELAY
