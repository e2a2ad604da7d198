"""The journal: what was decided, and why."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class EventDocument:
    """An entry of the journal: what was decided, and why.

    Attributes:
        number: Its place in the journal.
        kind: What happened, as ``replica.placed``.
        subject: The id of the deployment or node, or the name of the API key, that it is about.
    """

    number: int
    at: float = 0.0
    kind: str = ""
    subject: str = ""
    sentence: str = ""


@frozen
class EventsDocument:
    """A page of the journal.

    Attributes:
        events: The entries, as they came.
        last: The number up to which they are all.
        next: Where the next page begins, None for nowhere.
    """

    events: list[dict[str, Any]]
    last: int
    next: str | None = None
