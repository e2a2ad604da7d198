"""What happened when, in a bounded number of pieces."""

from __future__ import annotations

from sllm_actors.loadgen.figures.timeline import MOST, Timeline

from .results import failed, result


def test_a_request_is_due_in_one_piece_and_ends_in_another() -> None:
    timeline = Timeline()
    timeline.record(result(due=0.5, first=0.75, ended=2.5))
    timeline.record(failed(due=2.1, ended=2.2))
    timeline.record(failed(due=2.1, ended=2.2, error="", interrupted=True))
    assert timeline.document() == {
        "seconds": 1.0,
        "arrived": [1, 0, 2],
        "answered": [0, 0, 1],
        "failed": [0, 0, 1],
        "output_tokens": [0, 0, 5],
        "ttft_mean_ms": [None, None, 250.0],
        "ttft_max_ms": [None, None, 250.0],
    }


def test_a_long_run_has_wider_pieces_and_loses_nothing() -> None:
    timeline = Timeline()
    for at in range(3 * MOST):
        timeline.record(result(due=float(at), first=at + 0.1 + at % 2, last=at + 1.2, ended=at + 1.2))
    assert timeline.width == 4.0
    assert len(timeline.pieces) <= MOST
    found = timeline.document()
    assert sum(found["arrived"]) == sum(found["answered"]) == 3 * MOST
    assert {round(each) for each in found["ttft_max_ms"] if each} == {1100}
    assert timeline.pieces[1].ttft_mean is not None


def test_widening_keeps_a_last_piece_that_has_no_neighbour() -> None:
    timeline = Timeline()
    for at in (0.0, 1.0, 2.0):
        timeline.record(result(due=at, ended=at))
    timeline.record(result(due=float(MOST), ended=float(MOST)))
    assert sum(each.due for each in timeline.pieces) == 4
