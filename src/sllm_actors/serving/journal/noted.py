"""Something that was decided, before it has a time and a number. Pure."""

from __future__ import annotations

from attrs import frozen

from .kinds import EventKind


@frozen
class Noted:
    """Something that was decided or noticed; the attributes are those of ``JournalEntry``."""

    subject: str
    kind: EventKind
    sentence: str
    revision: int = 0
    replica: str = ""
    node: str = ""
