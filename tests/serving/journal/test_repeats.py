"""The journal is not filled by what is decided again and again, and nothing is left out in silence."""

from __future__ import annotations

from sllm_actors.serving.journal import repeats
from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.journal.repeats import BURST, RATE, REPEAT_AFTER, Repeats

NO_PLACE = Noted("m:vllm", "deployment.no_place", "no worker has a GPU")
PLACED = Noted("m:vllm", "replica.placed", "m:vllm@1.0 goes to w")


def test_the_same_decided_each_second_is_noted_every_ten_minutes_with_how_often_it_was() -> None:
    journal = Repeats()
    found = [
        (second, each.sentence)
        for second in range(int(2 * REPEAT_AFTER) + 1)
        for each in journal.pass_on(NO_PLACE, second)
    ]
    again = f"no worker has a GPU (the same was decided {REPEAT_AFTER:.0f} times since)"
    assert found == [(0, "no worker has a GPU"), (600, again), (1200, again)]


def test_what_is_decided_anew_after_something_else_is_noted_and_so_is_the_same_of_another() -> None:
    journal = Repeats()
    for each in (NO_PLACE, PLACED, NO_PLACE, Noted("n:vllm", NO_PLACE.kind, NO_PLACE.sentence)):
        assert journal.pass_on(each, 1.0) == [each]


def test_of_too_many_about_one_thing_the_rest_is_counted() -> None:
    journal = Repeats()

    def placed(number: int, now: float) -> list[Noted]:
        return journal.pass_on(Noted("m:vllm", "replica.placed", f"number {number}"), now)

    found = [each for number in range(BURST + 50) for each in placed(number, 0.0)]
    assert [each.sentence for each in found] == [f"number {number}" for number in range(BURST)]
    assert journal.pass_on(Noted("n:vllm", "replica.placed", "other"), 0.0), "the others are told as ever"
    left_out, last = placed(9999, 2 / RATE)
    assert (left_out.kind, left_out.subject) == ("journal.limited", "m:vllm")
    assert left_out.sentence.startswith("50 entries about m:vllm")
    assert last.sentence == "number 9999"
    assert len(placed(10_000, 2 / RATE)) == 1
    assert placed(10_001, 2 / RATE) == []


def test_what_is_remembered_of_is_bounded(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(repeats, "MOST_SUBJECTS", 3)
    journal = Repeats()
    for name in "abcd":
        assert journal.pass_on(Noted(name, "node.linked", "x"), 0.0)
    assert journal.pass_on(Noted("d", "node.linked", "x"), 1.0) == []
    assert journal.pass_on(Noted("a", "node.linked", "x"), 1.0), "it was forgotten: it is told again"
    assert len(journal._recent) == 3
