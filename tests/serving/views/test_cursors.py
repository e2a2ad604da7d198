"""Cursors are opaque: what a list did not give out is refused."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.serving.views.cursors import (
    LONGEST,
    CursorKind,
    CursorProblem,
    read_cursor,
    read_instance_cursor,
    write_cursor,
)

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300)
ids = st.sampled_from([CursorKind.DEPLOYMENT, CursorKind.NODE])


@given(ids, names)
def test_a_cursor_is_read_as_it_was_written(kind: CursorKind, name: str) -> None:
    cursor = write_cursor(kind, name)
    assert cursor.isascii()
    assert read_cursor(cursor, CursorKind.DEPLOYMENT, CursorKind.NODE) == (kind, name)
    other = CursorKind.NODE if kind is CursorKind.DEPLOYMENT else CursorKind.DEPLOYMENT
    with pytest.raises(CursorProblem):
        read_cursor(cursor, other)
    with pytest.raises(CursorProblem):
        read_instance_cursor(cursor)


@given(names, st.integers(0, 10**9), st.integers(0, 10**9), names)
def test_a_cursor_of_a_replica_is_read_as_it_was_written(
    name: str, revision: int, number: int, uid: str
) -> None:
    cursor = write_cursor(CursorKind.INSTANCE, name, str(revision), str(number), uid)
    assert read_instance_cursor(cursor) == ReplicaKey(name, revision, number, uid)
    with pytest.raises(CursorProblem):
        read_cursor(cursor, CursorKind.DEPLOYMENT, CursorKind.NODE)


@given(names, st.data())
def test_a_damaged_cursor_is_refused(name: str, data: st.DataObject) -> None:
    cursor = write_cursor(CursorKind.NODE, name)
    place = data.draw(st.integers(0, len(cursor) - 2))  # the last character has bits that mean nothing
    wrong = data.draw(st.characters().filter(lambda each: each != cursor[place]))
    with pytest.raises(CursorProblem, match="leave it out"):
        read_cursor(cursor[:place] + wrong + cursor[place + 1 :], CursorKind.NODE)


def forged(plain: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(plain).to_bytes(4) + plain).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "AAAA",
        forged(b"z\0a"),
        forged(b"i\0only"),
        forged(b"n\0a\0001\0002\0uid"),
        forged(b"i\0a\0one\0two\0uid"),
        forged(b"i\0a\0" + b"9" * 5000 + b"\0002\0uid"),
        forged(b"n\0\xff"),
        "A" * (LONGEST + 1),
    ],
)
def test_a_forged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(CursorProblem):
        read_cursor(cursor, CursorKind.DEPLOYMENT, CursorKind.NODE)
    with pytest.raises(CursorProblem):
        read_instance_cursor(cursor)
