"""Arrivals have the rate and the burstiness that were asked for, and the same seed gives the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from random import Random
from statistics import fmean, pstdev

import pytest

from sllm_actors.loadgen.work.arrivals import constant, gamma, poisson

COUNT = 20_000


def gaps(arrivals: Iterator[float]) -> list[float]:
    return [after - before for before, after in pairwise([0.0, *islice(arrivals, COUNT)])]


def test_constant_arrivals_begin_at_once_and_never_drift() -> None:
    found = list(islice(constant(3.0), 3001))
    assert found[:2] == [0.0, pytest.approx(1 / 3)]
    assert found[3000] == 1000.0


@pytest.mark.parametrize("cv", [0.5, 1.0, 4.0])
def test_gamma_arrivals_have_their_rate_and_their_coefficient_of_variation(cv: float) -> None:
    found = gaps(gamma(20.0, cv, Random("gamma")))
    assert fmean(found) == pytest.approx(1 / 20, rel=0.1)
    assert pstdev(found) / fmean(found) == pytest.approx(cv, rel=0.1)


def test_poisson_arrivals_have_a_coefficient_of_variation_of_1() -> None:
    found = gaps(poisson(20.0, Random("poisson")))
    assert fmean(found) == pytest.approx(1 / 20, rel=0.05)
    assert pstdev(found) / fmean(found) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    "arrivals", [lambda chance: poisson(5.0, chance), lambda chance: gamma(5.0, 2.0, chance)]
)
def test_the_same_seed_gives_the_same_arrivals_in_order(arrivals: object) -> None:
    assert callable(arrivals)
    found = list(islice(arrivals(Random(7)), 100))
    assert found == list(islice(arrivals(Random(7)), 100)) == sorted(found)
    assert found != list(islice(arrivals(Random(8)), 100))
