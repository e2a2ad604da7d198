"""The journal in memory together with the store gives every entry once, in order, from any place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.serving.journal import journal as module
from sllm_actors.serving.journal.journal import LONGEST_SENTENCE, MICRO, SHOWN, Journal, joined
from sllm_actors.serving.journal.noted import Noted
from sllm_actors.serving.store.journal_filter import EVERYTHING, JournalFilter
from sllm_actors.serving.store.records import JournalEntry


def noted(number: int, subject: str = "m:vllm", **more: str) -> Noted:
    return Noted(subject, "replica.placed", f"decision {number}", **more)  # type: ignore[arg-type]


def test_an_entry_is_numbered_by_the_time_and_numbers_rise_if_the_clock_is_set_back() -> None:
    journal = Journal([], 100.0)
    found = []
    for number, wall in enumerate([100.5, 100.5, 90.0, 101.0]):
        found += [each.number for each in journal.note([noted(number)], wall, 0.0)]
    first = int(100.5 * MICRO)
    assert found == [first, first + 1, first + 2, 101 * MICRO]


def test_a_head_that_starts_numbers_behind_all_that_was_ever_noted() -> None:
    ahead = [JournalEntry(500.0, "w", "node.linked", "a clock was wrong", 500 * MICRO)]
    assert Journal(ahead, 100.0).last == 500 * MICRO
    assert Journal(ahead, 600.0).last == 600 * MICRO, "also behind what the one before it could not write"


def test_a_sentence_is_one_line_of_bounded_length_and_harmless_characters() -> None:
    journal = Journal([], 0.0)
    (entry,) = journal.note(
        [Noted("m:vllm", "replica.failed", "it\nsaid\0 \x1b[31mred\ud800" + "x" * 5000)], 1.0, 1.0
    )
    assert entry.sentence.startswith("it said red�xxx")
    assert len(entry.sentence) == LONGEST_SENTENCE
    assert entry.sentence.endswith("…")


def test_a_number_beyond_the_last_one_counts_as_the_last_one() -> None:
    journal = Journal([], 10.0)
    journal.note([noted(1)], 11.0, 0.0)
    page = journal.page(5, 99 * MICRO, EVERYTHING)  # of a head whose store was lost
    assert (page.entries, page.until) == ((), 11 * MICRO)


class Kept:
    """A journal with a store, as a list, that has everything."""

    def __init__(self, before: int, held: int, later: int) -> None:
        self.everything = [entry(number) for number in range(1, before + 1)]
        newest = self.everything[-held:] if held else []
        self.journal = Journal(newest, 1.0, whole=held >= before)
        for number in range(later):
            self.everything += self.journal.note([noted(number, "ab"[number % 2])], 0.0, 0.0)

    def page(
        self, limit: int, after: int | None, wanted: JournalFilter
    ) -> tuple[list[JournalEntry], bool, int]:
        page = self.journal.page(limit, after, wanted)
        if page.older:
            older = [
                each for each in self.everything if (after or 0) < each.number <= self.journal.kept_after
            ]
            stored = list(filter(wanted.passes, older))
            first = stored[-limit:] if after is None else stored[: limit + 1]
            page = joined(limit, after, first, page)
        return list(page.entries), page.more, page.until


def entry(number: int) -> JournalEntry:
    return JournalEntry(0.0, "ab"[number % 2], "replica.placed", f"earlier {number}", number)


@given(
    before=st.integers(0, 8),
    held=st.integers(0, 8),
    later=st.integers(0, 12),
    limit=st.integers(1, 6),
    wanted=st.sampled_from([EVERYTHING, JournalFilter("a"), JournalFilter("nobody")]),
)
def test_pages_from_the_beginning_have_each_wanted_entry_once_and_the_newest_are_the_last(
    before: int, held: int, later: int, limit: int, wanted: JournalFilter
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECENT", 4)
        patch.setattr(module, "SLACK", 2)
        kept = Kept(before, min(held, before), later)
    expected = [each for each in kept.everything if wanted.passes(each)]
    found, after, more = [], 0, True
    while more:
        entries, more, after = kept.page(limit, after, wanted)
        assert len(entries) <= limit
        assert entries or not more
        found += entries
    assert found == expected
    assert after == kept.journal.last
    newest, more, until = kept.page(limit, None, wanted)
    assert (newest, more, until) == (expected[-limit:], False, kept.journal.last)


def test_of_a_deployment_the_last_entries_are_shown_in_order() -> None:
    journal = Journal([], 0.0)
    for number in range(3 * SHOWN):
        journal.note([noted(number, "ab"[number % 2])], 0.0, 0.0)
    assert [each.sentence for each in journal.about("a")] == [
        noted(number).sentence for number in range(3 * SHOWN) if number % 2 == 0
    ][-SHOWN:]
    assert journal.about("nobody") == []
