"""When a process that does not answer is taken for dead: never for time that the launcher itself slept."""

from __future__ import annotations

from sllm_actors.nodes.launcher.liveness import FIRST_PATIENCE, INTERVAL, Liveness


def looks_until_dead(liveness: Liveness, seconds: float = INTERVAL) -> int:
    looks = 1
    while not liveness.passed(seconds):
        looks += 1
    return looks


def test_silence_is_borne_as_long_as_was_set() -> None:
    liveness = Liveness(30)
    liveness.answered()
    assert looks_until_dead(liveness) == 30
    assert liveness.silence == 30


def test_an_answer_ends_the_silence() -> None:
    liveness = Liveness(3)
    for _ in range(100):
        assert not liveness.passed(2)
        liveness.answered()
    assert looks_until_dead(liveness) == 3


def test_the_first_answer_may_take_longer() -> None:
    assert looks_until_dead(Liveness(30)) == FIRST_PATIENCE
    assert looks_until_dead(Liveness(200)) == 200


def test_time_that_the_asking_side_slept_through_does_not_count() -> None:
    liveness = Liveness(30)
    liveness.answered()
    assert not liveness.passed(8 * 3600)
    assert liveness.silence == 2 * INTERVAL
    assert looks_until_dead(liveness) == 28


def test_looks_that_always_come_late_still_find_the_silence() -> None:
    liveness = Liveness(30)
    liveness.answered()
    assert looks_until_dead(liveness, seconds=10) == 15
