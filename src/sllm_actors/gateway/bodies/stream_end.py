"""Knows whether a stream of events was told to its end, from the bytes that are relayed. Pure."""

from __future__ import annotations

from typing import Final

from .dialects import Dialect

_KEPT = 128  # more than the beginning of a last event has: it may come in two pieces
_FAR = b"\n"
COMMON_END: Final = b"}\n\n"
"""How most events end. In most dialects the last one does not."""

_BLANK_LINE = (b"\n\n", b"\r\r", b"\n\r\n")


class StreamEnd:
    """Takes the bytes of a stream, in any pieces, and looks for the event that ends it.

    Events are not parsed: the last one is known by how its first line begins, which no text inside an event
    can imitate, for a line break in JSON is escaped.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._last_event = dialect.last_event
        self._whole = dialect.whole
        self._wanted = dialect.last_words  # nothing, once the last event was seen
        self._tail = _FAR  # a stream begins at the beginning of a line

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if not self._whole and data.endswith(COMMON_END):  # the last line is another: nothing to look for
            self._tail = _FAR
            return
        window = self._tail + data
        for words in self._wanted:
            if words in window and self._last_event.search(window):
                self._wanted = ()
        self._tail = window[-_KEPT:]

    @property
    def is_far(self) -> bool:
        """Whether ``feed`` would change nothing, were it given bytes that end with ``COMMON_END``."""
        return not self._whole and self._tail is _FAR

    @property
    def ended(self) -> bool:
        """Whether the stream has said that it is complete. True from the beginning if it never says so."""
        return not self._wanted and (not self._whole or self._tail.endswith(_BLANK_LINE))
