"""Cuts a stream of bytes into whole server-sent events, and reads their data. Pure."""

from __future__ import annotations

import re
from math import ceil

from sllm_actors.gateway.headers import hold_timing

COMMENT = b": keep-alive\n\n"
"""A comment, which clients ignore: it only shows that the connection lives."""

DONE = b"[DONE]"
"""The data of the last event of a stream in OpenAI's API."""

_END = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


def held(seconds: float) -> bytes:
    """Return the comment for a client whose request waits for a replica no longer."""
    return b": " + hold_timing(seconds) + b"\n\n"


def waiting(place: int, of: int, expected: float | None) -> bytes:
    """Return the comment for a client whose request waits for a replica.

    Args:
        place: Its place among those that wait, from 1.
        of: How many wait.
        expected: Seconds that it is expected to wait, or None if that is not known.
    """
    about = "" if expected is None else f", about {max(1, ceil(expected))} s"
    return f": waiting: place {place} of {of}{about}\n\n".encode()


class EventCutter:
    """Takes bytes in any pieces, and returns whole events.

    So what is sent to the client after them is never taken for a part of the last event.

    Args:
        limit: Bytes of an unfinished event that are kept back; a larger event is returned in pieces.

    Attributes:
        midway: Whether what was returned last ends within such a larger event.
    """

    def __init__(self, limit: int = 2**20) -> None:
        self._limit = limit
        self._rest = b""
        self.midway = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return all events that are whole now, unchanged, or ``b""``."""
        unseen = max(0, len(self._rest) - 2)  # before it there is no end, only perhaps the beginning of one
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if data.endswith(b"\n\n"):
            self.midway = False
            return data
        end = 0
        for blank_line in _BLANK_LINES:
            found = data.rfind(blank_line, unseen)
            end = max(end, found + len(blank_line)) if found >= 0 else end
        if end == 0 and len(data) > self._limit:
            self.midway = True
            return data
        self.midway = self.midway and end == 0
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """Return the bytes of an event that has not ended, or ``b""``; call it at the end of the stream."""
        rest, self._rest = self._rest, b""
        return rest


def data_of(events: bytes) -> list[bytes]:
    """Return the data of each event in ``events``, which are whole. Events without data are left out."""
    if events.startswith(b"data: ") and events.find(b"\n") == len(events) - 2 and b"\r" not in events:
        return [events[6:-2]]  # one event of one line, as most are
    found = []
    for event in _END.split(events):
        lines = [line for line in _LINE_END.split(event) if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(line[5:].removeprefix(b" ") for line in lines))
    return found
