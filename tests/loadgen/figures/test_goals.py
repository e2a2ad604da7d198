"""Limits of good answers, as people write them."""

from __future__ import annotations

import pytest

from sllm_actors.loadgen.figures.goals import Goals


def test_limits_are_in_milliseconds() -> None:
    assert Goals.parse("ttft:500") == ("ttft", 0.5)
    assert Goals.parse("tpot:12.5") == ("tpot", 0.0125)
    assert Goals.parse("e2el:60000") == ("e2el", 60.0)


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft:", "ttft:0", "ttft:-1", "ttft:inf", "itl:5", "ttft=5", "TTFT:5"]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ttft:500|limit of 0"):
        Goals.parse(text)
