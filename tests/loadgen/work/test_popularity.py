"""Which of several models is asked for."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from sllm_actors.loadgen.work.popularity import Popularity

MODELS = ("a", "b", "c")


def shares(popularity: Popularity) -> list[float]:
    chance = Random("picks")
    picked = Counter(popularity.pick(chance) for _ in range(30_000))
    return [picked[each] / 30_000 for each in MODELS]


@pytest.mark.parametrize(
    ("popularity", "expected"),
    [
        (Popularity.zipf(MODELS, 0.0), [1 / 3, 1 / 3, 1 / 3]),
        (Popularity.zipf(MODELS, 1.0), [6 / 11, 3 / 11, 2 / 11]),
        (Popularity.zipf(MODELS, 2.0), [36 / 49, 9 / 49, 4 / 49]),
        (Popularity.weighted(MODELS, [5, 3, 2]), [0.5, 0.3, 0.2]),
    ],
)
def test_models_are_asked_as_often_as_their_law_says(popularity: Popularity, expected: list[float]) -> None:
    assert shares(popularity) == pytest.approx(expected, abs=0.02)


def test_one_model_takes_no_chance() -> None:
    chance = Random(1)
    before = chance.getstate()
    assert Popularity.zipf(["only"], 1.0).pick(chance) == "only"
    assert chance.getstate() == before
