"""Changes top-level keys of a JSON object; every other byte of it stays as it came. Pure.

So numbers keep their digits (``1e400``, ``0.10``) and keys their order, whatever decoders make of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from sllm_actors.gateway import errors

from .json_mistakes import BYTE_ORDER_MARK, MISTAKES, mistake
from .members import Member, changed

MOST_KEYS = 2000
"""How many top-level keys an object may have that is changed: each costs some microseconds."""

_RAW_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FIRST_KEY = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*", re.DOTALL)
_NEXT_KEY = re.compile(rb"\s*(?:}|,\s*(" + _STRING + rb")\s*:\s*)", re.DOTALL)
_PLAIN = re.compile(_STRING + rb'|[^\s,\[\]{}"]+', re.DOTALL)  # a value that is no list and no object
_STRING_OR_BRACKET = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)


def with_changes(
    body: bytes,
    change: Mapping[str, Any],
    drop: Collection[str] = (),
    members: Sequence[Member] | None = None,
) -> bytes:
    """Return a JSON object with other values for some of its top-level keys.

    Args:
        body: The object, in UTF-8. A byte order mark before it stays.
        change: New values by key: anything that msgspec encodes, as ``msgspec.Raw`` for what is JSON already.
            A key that the object has keeps its place, each time that it comes; another is added at the end.
        drop: Keys that are left out, each time that they come, unless they are in ``change``, too.
        members: What ``members_of`` finds in the object without its byte order mark, if that is known.

    Returns:
        The changed object; ``body`` itself if there was nothing to change.

    Raises:
        ApiError: ``body`` is not a JSON object, or nested too deeply, or has too many keys (400).
    """
    mark = BYTE_ORDER_MARK if body.startswith(BYTE_ORDER_MARK) else b""
    text = body.removeprefix(mark)
    members = list(members_of(text)) if members is None else members
    if not change and not any(each.key in drop for each in members):
        return body
    new = {key: msgspec.json.encode(value) for key, value in change.items()}
    start = members[0].start if members else text.index(b"{") + 1
    pieces = changed(text, members, new, drop)
    known = {each.key for each in members}
    for key in (each for each in new if each not in known):
        pieces.append((b"," if pieces else b"") + msgspec.json.encode(key) + b":" + new[key])
    end = members[-1].end if members else start
    return b"".join([mark, text[:start], *pieces, memoryview(text)[end:]])


def members_of(text: bytes) -> Iterator[Member]:
    """Find the members of a JSON object, in their order; a key that comes twice is found twice.

    Values are not looked through: what msgspec says of their length is enough, except for those of a key that
    comes again with another value.

    Raises:
        ApiError: ``text`` is not a JSON object, or nested too deeply, or has too many keys (400).
    """
    try:
        last = {key: bytes(raw) for key, raw in _RAW_VALUES.decode(text).items()}
    except MISTAKES as error:
        raise mistake(error, text) from None
    found = _FIRST_KEY.match(text, text.index(b"{") + 1)
    count = 0
    while found is not None and found[1] is not None:
        count += 1
        if count > MOST_KEYS:
            raise errors.bad_request(f"the request's body may have at most {MOST_KEYS} top-level keys")
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
