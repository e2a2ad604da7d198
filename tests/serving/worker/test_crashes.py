"""When an actor that failed is started again."""

from __future__ import annotations

from sllm_actors.serving.worker.orders.crashes import HEALTHY_UPTIME, Crash, after_crash


def crash(before: Crash | None, *, uptime: float = 0.0, chance: float = 0.0) -> Crash:
    return after_crash(before, "KeyError: 1", uptime=uptime, now=100.0, chance=chance)


def test_failures_in_a_row_make_the_pause_longer_up_to_a_minute() -> None:
    pauses, last = [], None
    for _ in range(8):
        last = crash(last)
        pauses.append(last.again_at - 100.0)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert last is not None
    assert "KeyError: 1" in last.reason
    assert 101.0 > crash(None, chance=1.0).again_at >= 100.75


def test_an_actor_that_ran_for_a_while_has_made_its_failures_forgotten() -> None:
    worn = Crash(7, 90.0, "KeyError")
    assert crash(worn, uptime=HEALTHY_UPTIME).failures == 1
    assert crash(worn, uptime=HEALTHY_UPTIME - 1).failures == 8
