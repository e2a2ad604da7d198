"""The benchmark of the load generator: what it wants, and that it really asks."""

from __future__ import annotations

import pytest
from bench.harness.comparison import targets_of
from bench.harness.results import Subject
from bench.harness.spread import Spread
from bench.peers.generators import LoadFailed

from bench import serve

pytestmark = pytest.mark.allow_blocking

OURS = {"rps": 9000.0, "lag_p99_ms": 0.2, "streams": 2000.0}
STREAMS = {"ttft_p50_ms": 100.4, "tpot_p50_ms": 20.0, "e2e_p50_ms": 401.0}
OVER = {"ttft_over_ms": 0.4, "tpot_over_ms": 0.0, "e2e_over_ms": 0.6}
OTHER = "aiperf"


def words(ours: dict[str, float], theirs: dict[str, float]) -> list[str]:
    found = {serve.OURS: OURS | STREAMS | OVER | ours, **({OTHER: theirs} if theirs else {})}
    twice = {
        subject: Subject({name: Spread.of([value] * 2) for name, value in figures.items()})
        for subject, figures in found.items()
    }
    return [each.word for each in targets_of(serve.judge, twice)]


def test_all_is_met_where_both_find_the_same() -> None:
    assert words({}, STREAMS | OVER) == ["met"] * 7
    assert words({}, {}) == ["met"] * 4


def test_what_is_missed_is_told() -> None:
    slow = {"rps": 4000.0, "lag_p99_ms": 1.5, "streams": 1990.0, "ttft_over_ms": 1.2}
    assert words(slow, STREAMS | OVER) == ["missed"] * 4 + ["met"] * 3


def test_of_two_that_find_something_else_ours_must_be_nearer_to_the_clock_of_the_upstream() -> None:
    far = {"ttft_p50_ms": 127.4, "tpot_p50_ms": 22.0, "e2e_p50_ms": 450.0}
    theirs_wrong = {"ttft_over_ms": 27.4, "tpot_over_ms": 2.0, "e2e_over_ms": 49.6}
    assert words({}, far | theirs_wrong)[4:] == ["met"] * 3
    ours_wrong = {"ttft_over_ms": -27.0, "tpot_over_ms": -2.0, "e2e_over_ms": -49.0}
    assert words(ours_wrong, far | OVER)[4:] == ["missed"] * 3


@pytest.mark.slow
def test_it_really_asks_the_upstream() -> None:
    with serve.upstream() as port:
        found = serve.sllm(port, "--clients", "2", "--requests", "4", model="3 tokens 1 ms apart")
        assert found["requests"]["answered"] == 4
        assert found["tokens"]["output"] == 4 * 3
        same = serve.same_work(port, 0.2, serve.our_streams)
        assert same["ttft_p50_ms"] >= 100
        assert same["e2e_p50_ms"] >= 400
        assert set(same) == set(STREAMS | OVER)
        with pytest.raises(LoadFailed, match="give one of --rate"):
            serve.sllm(port)
