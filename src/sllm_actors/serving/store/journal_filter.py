"""Which entries of the journal are wanted. Pure."""

from __future__ import annotations

from attrs import frozen

from .records import JournalEntry


@frozen
class JournalFilter:
    """Lets entries pass that are about something.

    Attributes:
        subject: Only those about the deployment or node with this id, and those of all deployments of the
            model with this name; "" for all.
        kind: Only those of this kind, as ``replica.placed``, or of all kinds that begin with this word, as
            ``replica``; "" for all.
    """

    subject: str = ""
    kind: str = ""

    def passes(self, entry: JournalEntry) -> bool:
        """Return whether an entry is wanted."""
        kind, subject = self.kind, self.subject
        if kind and entry.kind != kind and not entry.kind.startswith(f"{kind}."):
            return False
        if not subject or subject in (entry.subject, entry.node):
            return True
        return entry.subject.rpartition(":")[0] == subject


EVERYTHING = JournalFilter()
"""Lets all entries pass."""
