"""Knows a head of HTTP/1.1 again that has come before, so that nobody has to parse it twice. Pure."""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LARGEST_KEPT: Final = 4096
"""Bytes of a head that is remembered."""

_MOST_DIGITS: Final = 18
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})\r\n", re.IGNORECASE)


class RepeatedHead(Generic[T]):
    """The head of a message that a parser has read, with what was made of it.

    Another message repeats it whose head has the same bytes, but for the digits of ``Content-Length``. Of
    that, a parser would make the same, but for the length of the body.

    Attributes:
        made: What was made of the head.
    """

    __slots__ = ("_after", "_before", "_digits", "made")

    def __init__(self, before: bytes, after: bytes, made: T) -> None:
        self.made = made
        self._before = before
        self._after = after
        self._digits = len(before)

    @classmethod
    def of(cls, data: bytes, came: int, made: T) -> RepeatedHead[T] | None:
        """Return the head with which ``data`` begins; None if it has no length, or is too large or not clear.

        Args:
            data: What a parser that was between two messages was given.
            came: How many bytes of it the parser has taken for the body of the last head in it.
            made: What was made of that head.
        """
        size = data.find(b"\r\n\r\n", 0, LARGEST_KEPT) + 4
        if size < 4 or size + came != len(data):  # or there are several heads
            return None
        found = _LENGTH.search(data, 0, size)
        return None if found is None else cls(data[: found.start(1)], data[found.end(1) : size], made)

    def find(self, data: bytes) -> tuple[int, int] | None:
        """Return where the body begins and how long it is, if a head that repeats this begins ``data``."""
        if not data.startswith(self._before):
            return None
        begin = self._digits
        end = data.find(b"\r", begin, begin + _MOST_DIGITS + 1)
        digits = data[begin:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self._after, end):
            return None
        return end + len(self._after), int(digits)
