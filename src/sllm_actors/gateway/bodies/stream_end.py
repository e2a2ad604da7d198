"""Knows whether a stream of events was told to its end, from the bytes that are relayed. Pure."""

from __future__ import annotations

from .dialects import Dialect

_KEPT = 128  # more than the beginning of a last event has: it may come in two pieces
_BLANK_LINE = (b"\n\n", b"\r\r", b"\n\r\n")


class StreamEnd:
    """Takes the bytes of a stream, in any pieces, and looks for the event that ends it.

    Events are not parsed: the last one is known by how its first line begins, which no text inside an event
    can imitate, for a line break in JSON is escaped.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tail = b"\n"  # a stream begins at the beginning of a line
        self._seen = not dialect.last_words

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        window = self._tail + data
        if not self._seen:
            self._seen = self._dialect.has_last_event(window)
        self._tail = window[-_KEPT:]

    @property
    def ended(self) -> bool:
        """Whether the stream has said that it is complete. True from the beginning if it never says so."""
        return self._seen and (not self._dialect.whole or self._tail.endswith(_BLANK_LINE))
