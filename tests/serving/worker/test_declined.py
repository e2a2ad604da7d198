"""What was refused is remembered for a while, and asked again at little cost."""

from __future__ import annotations

import pytest

from sllm_actors.engines.messages import InspectSource
from sllm_actors.serving.worker.declined import MOST_DECLINED, REMEMBERED, Declined, pause_after


def question(number: int = 0) -> InspectSource:
    return InspectSource("vllm", f"/m{number}", {"max_model_len": 1})


def test_a_refusal_is_asked_again_once_until_it_is_removed_or_old() -> None:
    declined = Declined()
    declined.add(question(1), 100.0)
    declined.add(question(2), 101.0)
    declined.add(question(1), 200.0)
    assert declined.current(300.0) == (question(2), question(1))
    assert declined.current(101.0 + REMEMBERED) == (question(1),)
    assert declined.remove(question(1))
    assert not declined.remove(question(1))
    assert declined.current(300.0) == ()


def test_of_too_many_the_oldest_goes() -> None:
    declined = Declined()
    for number in range(MOST_DECLINED + 3):
        declined.add(question(number), 100.0)
    kept = declined.current(100.0)
    assert (len(kept), kept[0], kept[-1]) == (MOST_DECLINED, question(3), question(MOST_DECLINED + 2))


@pytest.mark.parametrize(("took", "pause"), [(0.0, 5.0), (0.25, 5.0), (1.0, 20.0), (30.0, 60.0)])
def test_looks_that_cost_much_are_rare(took: float, pause: float) -> None:
    assert pause_after(took) == pause
