"""Cursors: opaque texts that say after which entry of a list the next page begins."""

from __future__ import annotations

import base64
import zlib
from enum import StrEnum

from sllm_actors.engines.identity import ReplicaKey

LONGEST = 4096
"""The most characters of a cursor."""

_NONE_OF_OURS = "the cursor is none that this list gave out: leave it out to begin at the first page"


class CursorProblem(ValueError):
    """A cursor is not one that this list gave out; the text is a sentence for whoever sent it."""


class CursorKind(StrEnum):
    """Of which list a cursor is."""

    DEPLOYMENT = "d"
    NODE = "n"
    INSTANCE = "i"


def write_cursor(kind: CursorKind, *key: str) -> str:
    """Return the cursor behind the entry with this key."""
    plain = "\0".join((kind.value, *key)).encode()
    return base64.urlsafe_b64encode(zlib.crc32(plain).to_bytes(4) + plain).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: CursorKind) -> tuple[CursorKind, str]:
    """Return of which list a cursor is, and the id behind which the page begins.

    Args:
        cursor: What ``write_cursor`` gave.
        kinds: The lists that it may be of.

    Raises:
        CursorProblem: It is damaged, or of another list.
    """
    try:
        kind, (after,) = _parts(cursor)
        if kind in kinds:
            return kind, after
    except ValueError:
        pass
    raise CursorProblem(_NONE_OF_OURS)


def read_instance_cursor(cursor: str) -> ReplicaKey:
    """Return the replica behind which the page begins; else as ``read_cursor``."""
    try:
        kind, (deployment, revision, number, uid) = _parts(cursor)
        if kind is CursorKind.INSTANCE:
            return ReplicaKey(deployment, int(revision), int(number), uid)
    except ValueError:
        pass
    raise CursorProblem(_NONE_OF_OURS)


def _parts(cursor: str) -> tuple[CursorKind, list[str]]:
    if len(cursor) > LONGEST:
        raise ValueError
    padded = cursor + "=" * (-len(cursor) % 4)
    read = base64.b64decode(padded, altchars=b"-_", validate=True)
    checksum, plain = read[:4], read[4:]
    if zlib.crc32(plain).to_bytes(4) != checksum:
        raise ValueError
    kind, *key = plain.decode().split("\0")
    return CursorKind(kind), key
