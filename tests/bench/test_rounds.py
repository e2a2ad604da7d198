"""Subjects take turns, and one that fails keeps nobody else from being measured."""

from __future__ import annotations

from bench.harness.rounds import Collected, collect, interleave


class Broken(Exception):
    pass


def test_subjects_take_turns() -> None:
    assert list(interleave(["a", "b", "c"], 2)) == [
        (0, "a"),
        (0, "b"),
        (0, "c"),
        (1, "a"),
        (1, "b"),
        (1, "c"),
    ]


def test_each_round_adds_one_value_to_each_measure() -> None:
    counted = iter(range(100))
    collected = collect(["a", "b"], 3, lambda _: {"x": float(next(counted))}, expected=Broken)
    assert collected.values == {"a": {"x": [0.0, 2.0, 4.0]}, "b": {"x": [1.0, 3.0, 5.0]}}
    assert collected.errors == {}


def test_a_subject_that_fails_is_left_out_and_the_others_go_on() -> None:
    runs: list[str] = []

    def measure(subject: str) -> dict[str, float]:
        runs.append(subject)
        if subject == "a":
            raise Broken("a is broken")
        return {"x": 1.0}

    collected = collect(["a", "b"], 2, measure, expected=Broken)
    assert runs == ["a", "b", "b"]
    assert collected.values == {"b": {"x": [1.0, 1.0]}}
    assert collected.errors == {"a": ["a is broken"]}


def test_groups_add_up_in_one_collection() -> None:
    collected = Collected()
    collect(["a"], 1, lambda _: {"x": 1.0}, expected=Broken, into=collected)
    collect(["a"], 1, lambda _: {"y": 2.0}, expected=Broken, into=collected)
    assert collected.values == {"a": {"x": [1.0], "y": [2.0]}}


def test_progress_names_the_round_and_the_subject() -> None:
    told: list[tuple[int, str]] = []
    collect(
        ["a", "b"],
        2,
        lambda _: {"x": 1.0},
        expected=Broken,
        progress=lambda each, subject: told.append((each, subject)),
    )
    assert told == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


def test_the_same_failure_is_said_once() -> None:
    collected = Collected()
    collected.fail("a", "no")
    collected.fail("a", "no")
    collected.fail("a", "still no")
    assert collected.errors == {"a": ["no", "still no"]}


def test_each_round_begins_with_the_next_subject() -> None:
    assert [name for _, name in interleave(["a", "b", "c"], 3, rotate=True)] == list("abcbcacab")
    assert list(interleave([], 2, rotate=True)) == []


def test_a_slow_subject_takes_part_in_the_first_rounds_only() -> None:
    collected = collect(
        ["fast", "slow"],
        3,
        lambda _: {"x": 1.0},
        expected=Broken,
        rounds_of={"fast": 3, "slow": 1}.__getitem__,
    )
    assert {name: len(figures["x"]) for name, figures in collected.values.items()} == {"fast": 3, "slow": 1}
