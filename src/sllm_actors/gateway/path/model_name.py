"""The name of the model in an answer: what clients call it, not what the server does that was asked. Pure.

Only the name's own bytes are replaced; all else of an answer stays as it came.
"""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(  # texts, each with whether it is a key, and brackets
    rb'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")(?P<colon>\s*:)?|(?P<bracket>[\[\]{}])', re.DOTALL
)
_DATA = re.compile(rb"(?m)^data:[ \t]*(?=\{)(.*)$")

_HOLDERS = (b'"response"', b'"message"')
"""Below these keys a first event describes the whole answer (``/v1/responses``, ``/v1/messages``)."""


def with_model(document: bytes, name: str) -> bytes:
    """Return a JSON object with another name in its ``model``; what is no such object stays as it is."""
    place = _find(document)
    if place is None:
        return document
    start, end = place
    return document[:start] + json.dumps(name).encode() + document[end:]


def with_model_in_events(events: bytes, name: str) -> bytes:
    """Return whole server-sent events with another name in the ``model`` of each event's data."""

    def rename(match: re.Match[bytes]) -> bytes:
        start = match.start(1) - match.start()
        return match[0][:start] + with_model(match[1], name)

    return _DATA.sub(rename, events) if b'"model"' in events else events


def _find(document: bytes) -> tuple[int, int] | None:
    """Return where the name is: in the object itself, or in the one that it holds for the whole answer."""
    opened: list[tuple[bytes, bytes]] = []  # the brackets that are open, each with the key that it is under
    key = b""
    for token in _TOKEN.finditer(document):
        bracket = token["bracket"]
        if bracket is None:
            if token["colon"] is not None:
                key = token["text"]
                continue
            if key == b'"model"' and _describes_all(opened):
                return token.span("text")
        elif bracket in b"[{":
            opened.append((bracket, key))
        elif opened:
            opened.pop()
        key = b""
    return None


def _describes_all(opened: list[tuple[bytes, bytes]]) -> bool:
    if not opened or opened[0] != (b"{", b""):
        return False
    return len(opened) == 1 or (len(opened) == 2 and opened[1][0] == b"{" and opened[1][1] in _HOLDERS)
