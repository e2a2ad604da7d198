"""Server-sent events, as bytes come in: whole events out, and what is in them."""

from __future__ import annotations

import re

COMMENT = b": keep-alive\n\n"
DONE = b"[DONE]"

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class EventCutter:
    """Gives out whole events only, so that what follows them can never be taken for a part of the last one.

    An event larger than ``limit`` bytes is passed on in pieces.

    Attributes:
        midway: What was given out last ends within such an event.
    """

    def __init__(self, limit: int = 2**20) -> None:
        self._limit = limit
        self._rest = b""
        self.midway = False

    def feed(self, data: bytes) -> bytes:
        """Return all whole events that are there now, as they came."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if data.endswith(b"\n\n"):
            self.midway = False
            return data
        end = 0
        for match in _END.finditer(data):
            end = match.end()
        if end == 0 and len(data) > self._limit:
            self.midway = True
            return data
        self.midway = self.midway and end == 0
        self._rest = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """Return what has come of an event that has not ended."""
        rest, self._rest = self._rest, b""
        return rest


def data_of(events: bytes) -> list[bytes]:
    """Return the data of each event in a run of whole events; comments and other fields are left out."""
    found = []
    for event in _END.split(events):
        lines = [line for line in re.split(rb"\r\n|\n|\r", event) if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(line[5:].removeprefix(b" ") for line in lines))
    return found
