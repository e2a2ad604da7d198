"""A page of the journal as JSON: what it says of the entries that follow."""

from __future__ import annotations

import json

from sllm_actors.serving.journal.journal import JournalPage
from sllm_actors.serving.store.records import JournalEntry
from sllm_actors.serving.views.events import events_answer

ENTRY = JournalEntry(1.5, "m:vllm", "replica.placed", "it goes to w", 7, 2, "m:vllm@2.0", "w")


def test_a_page_says_up_to_where_it_is_whole_and_where_the_next_one_begins() -> None:
    last = events_answer(JournalPage((ENTRY,), more=False, until=9, older=False))
    assert last.next == ""
    assert json.loads(last.document) == {
        "events": [
            {
                "number": 7,
                "at": 1.5,
                "kind": "replica.placed",
                "subject": "m:vllm",
                "revision": 2,
                "replica": "m:vllm@2.0",
                "node": "w",
                "sentence": "it goes to w",
            }
        ],
        "last": 9,
        "next": None,
    }
    first = events_answer(JournalPage((ENTRY,), more=True, until=7, older=False))
    assert (first.next, json.loads(first.document)["next"], json.loads(first.document)["last"]) == (
        "7",
        "7",
        7,
    )


def test_what_an_entry_is_not_about_is_null() -> None:
    entry = JournalEntry(1.5, "w", "node.linked", "w is linked", 7)
    page = events_answer(JournalPage((entry,), more=False, until=7, older=False))
    (view,) = json.loads(page.document)["events"]
    assert (view["revision"], view["replica"], view["node"]) == (None, None, None)
