"""The benchmark of the load generator: what it wants, and that it really asks."""

from __future__ import annotations

import pytest
from bench.harness.comparison import targets_of
from bench.harness.results import Subject
from bench.harness.spread import Spread

from bench import serve

pytestmark = pytest.mark.allow_blocking

OURS = {"rps": 9000.0, "lag_p99_ms": 0.2, "streams": 2000.0, "tpot_p50_ms": 20.0, "e2e_p50_ms": 301.0}


def words(ours: dict[str, float], theirs: dict[str, float]) -> list[str]:
    found = {serve.OURS: OURS | ours, **({serve.THEIRS: theirs} if theirs else {})}
    twice = {
        subject: Subject({name: Spread.of([value] * 2) for name, value in figures.items()})
        for subject, figures in found.items()
    }
    return [each.word for each in targets_of(serve.judge, twice)]


def test_all_is_met_where_both_find_the_same() -> None:
    assert words({}, {"tpot_p50_ms": 20.5, "e2e_p50_ms": 310.0}) == ["met"] * 5
    assert words({}, {}) == ["met"] * 3


def test_what_is_missed_is_told() -> None:
    slow = {"rps": 4000.0, "lag_p99_ms": 1.5, "streams": 1990.0}
    assert words(slow, {"tpot_p50_ms": 22.0, "e2e_p50_ms": 280.0}) == ["missed"] * 5


@pytest.mark.slow
def test_it_really_asks_the_upstream() -> None:
    with serve.upstream() as port:
        found = serve.sllm(port, "--clients", "2", "--requests", "4", model="3 tokens 1 ms apart")
        assert found["requests"]["answered"] == 4
        assert found["tokens"]["output"] == 4 * 3
        with pytest.raises(serve.LoadFailed, match="give one of --rate"):
            serve.sllm(port)
