"""Which report waits, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from tests.serving.kit import key

from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.worker.pace import Pace

FIRST = ReplicaReport(key(0).attempt(1), ReplicaState.STARTING, progress="1 %")


def started() -> Pace:
    pace = Pace()
    assert pace.lets_go(FIRST, None, 100.0)
    return pace


def test_progress_waits_until_half_a_second_after_the_last_report() -> None:
    pace = started()
    assert not pace.lets_go(evolve(FIRST, progress="2 %"), FIRST, 100.1)
    assert not pace.lets_go(evolve(FIRST, progress="3 %"), FIRST, 100.4)
    assert pace.due(100.4) == []
    assert pace.due(100.5) == [key(0)]
    assert pace.due(100.6) == []
    assert not pace.lets_go(evolve(FIRST, progress="4 %"), evolve(FIRST, progress="3 %"), 100.9)
    assert pace.due(101.0) == [key(0)]
    assert pace.lets_go(evolve(FIRST, progress="5 %"), evolve(FIRST, progress="4 %"), 101.5)


@pytest.mark.parametrize(
    "change",
    [
        {"state": ReplicaState.READY},
        {"downloading": True},
        {"failures": 1},
        {"address": "unix:/x"},
        {"withdrawal": 1},
        {"reason": "it broke"},
        {"unfit": True},
        {"id": key(0).attempt(2)},
    ],
)
def test_what_others_decide_by_goes_at_once_and_takes_the_waiting_one_along(change: dict[str, Any]) -> None:
    pace = started()
    pace.lets_go(evolve(FIRST, progress="2 %"), FIRST, 100.1)
    assert pace.lets_go(evolve(FIRST, **change), FIRST, 100.2)
    assert pace.due(200.0) == []


def test_what_is_gone_is_not_sent_any_more() -> None:
    pace = started()
    pace.lets_go(evolve(FIRST, progress="2 %"), FIRST, 100.1)
    pace.forget(key(0))
    pace.forget(key(0))
    assert pace.due(200.0) == []
