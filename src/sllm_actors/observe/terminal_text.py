"""Text from elsewhere (engines, models, prompts, file names), made fit to be shown on a terminal. Pure.

Such text must neither steer the terminal (move its cursor, set its title, answer for it) nor look like
something else than it is. Kept are all printing characters, newlines and tabs. These are changed:

- An escape sequence (a colour, a title) is dropped whole.
- A carriage return, with or without a newline after it, becomes one newline: nothing is overwritten.
- Every other control character (C0, DEL, C1) is dropped, and so are the characters that embed, override or
  isolate a direction of writing, with which text can be shown in another order than it has.
- A line or paragraph separator becomes a newline; half of a surrogate pair, which no terminal could be sent,
  becomes U+FFFD.
"""

from __future__ import annotations

import re

LONGEST_SEQUENCE = 1024
"""Characters that an escape sequence may have. A longer one is no sequence: its text is shown."""

_LENGTH = f"{{0,{LONGEST_SEQUENCE}}}"
_STRING = rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x0a\x0d\x1b\x80-\x9f]{_LENGTH}"
_CONTROL = rf"(?:\x1b\[|\x9b)[0-?]{_LENGTH}[ -/]{_LENGTH}"
_SHORT = r"\x1b[ -/]{0,8}"

_DROPPED = re.compile(
    rf"{_STRING}(?:\x07|\x1b\\|\x9c)|{_CONTROL}[@-~]|{_SHORT}[0-~]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_BREAKS = re.compile(r"\r\n?|[\u2028\u2029]")
_HALVES = re.compile(r"[\ud800-\udfff]")
_UNFINISHED = re.compile(rf"(?:{_STRING}\x1b?|{_CONTROL}|{_SHORT}|\r)\Z")


class TerminalFilter:
    """Filters a text that comes in pieces, as the module says, whatever the places where it is cut."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str, *, last: bool = False) -> str:
        """Return what can be shown by now. The begin of a sequence is kept back until its end has come.

        Args:
            piece: What has come.
            last: Nothing comes after it: what was kept back is shown too, where it is no sequence.
        """
        text, self._held = self._held + piece, ""
        if not last and (unfinished := _UNFINISHED.search(text)):
            text, self._held = text[: unfinished.start()], unfinished.group()
        return _HALVES.sub("�", _DROPPED.sub("", _BREAKS.sub("\n", text)))


def printable(text: str) -> str:
    """Return a whole text as it may be shown: several lines stay several lines."""
    return TerminalFilter().feed(text, last=True)


def one_line(text: str) -> str:
    """Return a whole text as it may be shown within a line: newlines and tabs become blanks."""
    return printable(text).replace("\n", " ").replace("\t", " ")
