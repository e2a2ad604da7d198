"""What the results of a run add up to."""

from __future__ import annotations

import pytest

from sllm_actors.loadgen.figures.figures import MOST_KINDS, MOST_MODELS, Figures
from sllm_actors.loadgen.figures.goals import Goals

from .results import failed, result


def test_latencies_count_from_when_a_request_was_due() -> None:
    figures = Figures(None, ("m",))
    figures.record(result(due=1.0, begun=1.25, sent=1.3, first=1.4, last=2.0, ended=2.0))
    assert figures.lag.mean == pytest.approx(0.25)
    assert figures.ttft.mean == pytest.approx(0.4)
    assert figures.e2e.mean == pytest.approx(1.0)
    assert figures.tpot.mean == pytest.approx(0.15)
    assert figures.itl.count == 3
    assert figures.itl.most == pytest.approx(0.2, rel=0.001)


def test_each_request_ends_in_one_way() -> None:
    figures = Figures(None, ("m",))
    figures.record(result())
    figures.record(failed())
    figures.record(result(hung_up=True, output_tokens=2))
    figures.record(failed(error="", interrupted=True))
    assert (figures.sent, figures.answered, figures.failed) == (4, 1, 1)
    assert (figures.hung_up, figures.interrupted) == (1, 1)
    assert (figures.input_tokens, figures.output_tokens) == (20, 7)
    assert (figures.e2e.count, figures.ttft.count) == (1, 2)


def test_errors_are_told_by_kind_with_what_was_said_first() -> None:
    figures = Figures(None, ("m",))
    figures.record(failed("HTTP 429", reason="slow down"))
    figures.record(failed("HTTP 429", reason="again"))
    figures.record(failed("connection lost"))
    found = {name: (each.count, each.reason) for name, each in figures.errors.items()}
    assert found == {"HTTP 429": (2, "slow down"), "connection lost": (1, "")}


def test_a_server_cannot_make_more_kinds_of_errors_than_there_is_room_for() -> None:
    figures = Figures(None, ("m",))
    for number in range(MOST_KINDS + 10):
        figures.record(failed(f"HTTP 500 code-{number}"))
    assert len(figures.errors) == MOST_KINDS + 1
    assert figures.errors["other"].count == 10


def test_the_warm_up_is_left_out() -> None:
    figures = Figures(None, ("m",), warm_up=2.0)
    figures.record(result(due=1.9))
    figures.record(result(due=2.0, begun=2.0, sent=2.0, first=2.5, last=3.0, ended=4.0))
    assert figures.sent == 1
    assert figures.seconds == pytest.approx(2.0)


def test_goodput_counts_whole_answers_within_all_limits() -> None:
    figures = Figures(Goals({"ttft": 0.2, "e2el": 1.0}), ("m",))
    figures.record(result())
    figures.record(result(first=1.3))
    figures.record(result(ended=2.5))
    figures.record(result(hung_up=True))
    assert (figures.answered, figures.good) == (3, 1)


def test_each_of_several_models_has_figures_of_its_own() -> None:
    figures = Figures(None, ("a", "b"))
    figures.record(result(model="a"))
    figures.record(failed(model="b"))
    figures.record(result(model="b", hung_up=True))
    assert (figures.models["a"].answered, figures.models["a"].ttft.count) == (1, 1)
    assert (figures.models["b"].answered, figures.models["b"].failed) == (0, 1)
    assert Figures(None, ("only",)).models == {}
    many = Figures(None, tuple(str(number) for number in range(MOST_MODELS + 5)))
    many.record(result(model=str(MOST_MODELS + 1)))
    assert (len(many.models), many.answered) == (MOST_MODELS, 1)


def test_an_answer_without_a_stream_has_no_first_token() -> None:
    figures = Figures(Goals({"ttft": 0.001}), ("m",))
    figures.record(result(first=None, gaps=[]))
    assert (figures.ttft.count, figures.tpot.count, figures.e2e.count, figures.good) == (0, 0, 1, 1)


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    figures = Figures(None, ("m",))
    figures.record(result(gaps=[], output_tokens=1))
    assert (figures.ttft.count, figures.tpot.count) == (1, 0)
