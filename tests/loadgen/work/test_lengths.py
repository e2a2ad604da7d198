"""How many tokens a text has, as people write it."""

from __future__ import annotations

from random import Random

import pytest

from sllm_actors.loadgen.work.lengths import Lengths


def test_a_range_gives_each_of_its_numbers() -> None:
    lengths = Lengths.parse("3-6")
    assert {lengths.draw(Random(seed)) for seed in range(200)} == {3, 4, 5, 6}
    assert str(lengths) == "3-6"


def test_a_number_is_always_the_same() -> None:
    lengths = Lengths.parse("128")
    assert [lengths.draw(Random(seed)) for seed in range(3)] == [128] * 3
    assert str(lengths) == "128"


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "0-5", "6-3", "1.5", "a", "1-", "-5", "99999999", "٣", "1 - 2"]
)
def test_what_is_no_number_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        Lengths.parse(text)
