"""Changes top-level keys of a JSON object; every other byte of it stays as it came. Pure.

So numbers keep their digits (``1e400``, ``0.10``) and keys their order, whatever decoders make of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from .json_mistakes import BYTE_ORDER_MARK, MISTAKES, mistake

_RAW_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FIRST_KEY = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*", re.DOTALL)
_NEXT_KEY = re.compile(rb"\s*(?:}|,\s*(" + _STRING + rb")\s*:\s*)", re.DOTALL)
_PLAIN = re.compile(_STRING + rb'|[^\s,\[\]{}"]+', re.DOTALL)  # a value that is no list and no object
_STRING_OR_BRACKET = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)


class Member(msgspec.Struct, frozen=True, gc=False):
    """A key of an object with its value.

    Attributes:
        key: The key, decoded.
        start: Where the key begins, in bytes from the beginning of the text.
        value: Where its value begins.
        end: Where its value ends.
    """

    key: str
    start: int
    value: int
    end: int


def with_changes(body: bytes, change: Mapping[str, Any], drop: Collection[str] = ()) -> bytes:
    """Return a JSON object with other values for some of its top-level keys.

    Args:
        body: The object, in UTF-8. A byte order mark before it stays.
        change: New values by key: anything that msgspec encodes, as ``msgspec.Raw`` for what is JSON already.
            A key that the object has keeps its place, each time that it comes; another is added at the end.
        drop: Keys that are left out, each time that they come, unless they are in ``change``, too.

    Returns:
        The changed object; ``body`` itself if there was nothing to change.

    Raises:
        ApiError: ``body`` is not a JSON object, or nested too deeply (400).
    """
    mark = BYTE_ORDER_MARK if body.startswith(BYTE_ORDER_MARK) else b""
    text = body.removeprefix(mark)
    members = list(members_of(text))
    if not change and not any(each.key in drop for each in members):
        return body
    new = {key: msgspec.json.encode(value) for key, value in change.items()}
    view = memoryview(text)
    start = at = end = text.index(b"{") + 1  # at: up to where the text is copied; end: where a member ended
    pieces: list[bytes | memoryview] = [mark, view[:start]]
    empty = True
    for member in members:
        if member.key in drop and member.key not in new:
            if not empty:
                pieces.append(view[at:end])  # without the comma
            at = member.end
        else:
            if empty and at != start:  # what stood before was dropped, and its comma goes, too
                pieces.append(view[start : members[0].start])
                at = member.start
            if member.key in new:
                pieces += view[at : member.value], new[member.key]
                at = member.end
            empty = False
        end = member.end
    pieces.append(view[at:end])
    known = {each.key for each in members}
    for key in (each for each in new if each not in known):
        pieces.append((b"" if empty else b",") + msgspec.json.encode(key) + b":" + new[key])
        empty = False
    pieces.append(view[end:])
    return b"".join(pieces)


def members_of(text: bytes) -> Iterator[Member]:
    """Find the members of a JSON object, in their order; a key that comes twice is found twice.

    Values are not looked through: what msgspec says of their length is enough, except for those of a key that
    comes again with another value.

    Raises:
        ApiError: ``text`` is not a JSON object, or nested too deeply (400).
    """
    try:
        last = {key: bytes(raw) for key, raw in _RAW_VALUES.decode(text).items()}
    except MISTAKES as error:
        raise mistake(error, text) from None
    found = _FIRST_KEY.match(text, text.index(b"{") + 1)
    while found is not None and found[1] is not None:
        key, start, value = _TEXT.decode(found[1]), found.start(1), found.end()
        end = value + len(last[key])
        found = _NEXT_KEY.match(text, end) if text.startswith(last[key], value) else None
        if found is None:  # not the last value of this key
            end = _end_of_value(text, value)
            found = _NEXT_KEY.match(text, end)
        yield Member(key, start, value, end)


def _end_of_value(text: bytes, start: int) -> int:
    plain = _PLAIN.match(text, start)
    if plain is not None:
        return plain.end()
    tokens = _STRING_OR_BRACKET.finditer(text, start)
    depth = 0
    while True:
        token = next(tokens)
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                return token.end()
