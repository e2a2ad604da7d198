"""Entries of the journal as they are shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sllm_actors.serving.journal.journal import JournalPage
from sllm_actors.serving.messages import Done
from sllm_actors.serving.store.records import JournalEntry

_encode = json.JSONEncoder(separators=(",", ":")).encode


def events_answer(page: JournalPage) -> Done:
    """Return a page of the journal as the answer to a question.

    Its ``events`` are the entries, ``last`` is the number up to which they are all that was wanted, and
    ``next`` is the same as a text if more follow, else null.
    """
    following = str(page.until) if page.more else None
    document = {"events": event_views(page.entries), "last": page.until, "next": following}
    return Done(_encode(document), next=following or "")


def event_views(entries: Sequence[JournalEntry]) -> list[dict[str, Any]]:
    """Return entries as JSON objects: ``at`` is in seconds since the epoch; what does not apply is null."""
    return [
        {
            "number": each.number,
            "at": each.at,
            "kind": each.kind,
            "subject": each.subject,
            "revision": each.revision or None,
            "replica": each.replica or None,
            "node": each.node or None,
            "sentence": each.sentence,
        }
        for each in entries
    ]
