"""Whether the generator itself was the bottleneck."""

from __future__ import annotations

import pytest

from sllm_actors.loadgen.figures.generator_load import GeneratorLoad


def load(
    lag: float = 0.0001, latency: float = 0.01, share: float = 0.3, waited: int = 0, seconds: float = 9.0
) -> GeneratorLoad:
    return GeneratorLoad(lag, latency, share, seconds, waited, connections=64)


def test_an_idle_generator_warns_of_nothing() -> None:
    assert list(load().warnings()) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (load(share=0.97), "97% of a processor core"),
        (load(lag=0.004), "4.0 ms late"),
        (load(waited=3), "3 requests waited for one of the 64 connections"),
    ],
)
def test_a_generator_that_limits_the_figures_says_so(found: GeneratorLoad, words: str) -> None:
    (warning,) = found.warnings()
    assert words in warning


def test_lateness_that_nobody_sees_in_the_latencies_is_not_told() -> None:
    assert list(load(lag=0.004, latency=2.0).warnings()) == []


def test_a_moment_says_nothing_of_the_processor() -> None:
    assert list(load(share=0.97, seconds=0.4).warnings()) == []
