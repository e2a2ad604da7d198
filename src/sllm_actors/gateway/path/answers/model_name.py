"""Replaces the name of the model in the answer of an external server by the name that clients use. Pure.

Only the bytes of the name are replaced; everything else in an answer stays as it came.
"""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(  # strings, a colon after those that are keys, and brackets
    rb'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")(?P<colon>\s*:)?|(?P<bracket>[\[\]{}])', re.DOTALL
)
_DATA = re.compile(rb"(?m)^data:[ \t]*(?=\{)(.*)$")

_HOLDERS = (b'"response"', b'"message"')
"""Keys under which the first event of a stream describes the whole answer, its model too: in
``/v1/responses`` and ``/v1/messages``."""


def with_model(document: bytes, name: str) -> bytes:
    """Return a JSON object with ``name`` as its ``model``; anything else is returned as it is."""
    place = _find(document)
    if place is None:
        return document
    start, end = place
    return document[:start] + json.dumps(name).encode() + document[end:]


def with_model_in_events(events: bytes, name: str) -> bytes:
    """Return whole server-sent events with ``name`` as the ``model`` in the data of each."""

    def rename(match: re.Match[bytes]) -> bytes:
        start = match.start(1) - match.start()
        return match[0][:start] + with_model(match[1], name)

    return _DATA.sub(rename, events) if b'"model"' in events else events


def _find(document: bytes) -> tuple[int, int] | None:
    """Return the span of the model's name, in the object or in the one under a key of ``_HOLDERS``."""
    opened: list[tuple[bytes, bytes]] = []  # the open brackets, each with the key whose value it begins
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
