"""A stream is cut into whole events however its bytes come, and its data is what clients read there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from sllm_actors.gateway.path.answers.events import EventCutter, data_of, held, waiting

ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n")
EVENTS = st.lists(
    st.sampled_from(
        [
            b"data: {}",
            b"data: [DONE]",
            b": comment",
            b"event: error\ndata: a",
            b"data: a\r\ndata:b",
            b"data:  two\rdata: c",
            b"data: \xc3\xa9",
            b"id: 1",
            b"data:",
        ]
    ).flatmap(lambda event: st.sampled_from([event + end for end in ENDS])),
    max_size=8,
)


def pieces_of(whole: bytes, cuts: set[int]) -> list[bytes]:
    places = sorted(each for each in cuts if each < len(whole))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@given(EVENTS, st.sets(st.integers(0, 150)))
def test_events_come_out_whole_however_the_bytes_were_split(events: list[bytes], cuts: set[int]) -> None:
    whole = b"".join(events)
    cutter = EventCutter()
    out = [cutter.feed(piece) for piece in pieces_of(whole, cuts)]
    assert b"".join(out) == whole
    assert cutter.rest() == b""
    assert all(not piece or piece.endswith(ENDS) for piece in out)
    assert [data for piece in out for data in data_of(piece)] == data_of(whole)


@given(EVENTS)
def test_the_data_is_what_a_client_reads_there(events: list[bytes]) -> None:
    whole = b"".join(events)
    read = [event.data for event in SSEDecoder().iter_bytes(iter([whole]))]
    ours = [data.decode() for data in data_of(whole)]
    assert [data for data in ours if data] == [data for data in read if data]


@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\r", b"data: a"]), max_size=30))
def test_arbitrary_bytes_come_out_unchanged(pieces: list[bytes]) -> None:
    cutter = EventCutter(limit=20)
    out = b"".join(cutter.feed(piece) for piece in pieces) + cutter.rest()
    assert out == b"".join(pieces)
    data_of(out)


@pytest.mark.parametrize("end", ENDS)
def test_an_event_without_end_is_passed_on_in_pieces(end: bytes) -> None:
    cutter = EventCutter(limit=10)
    pieces = [b"data: 12", b"3456", b"78", b"9" + end + b"data"]
    given = [(cutter.feed(piece), cutter.midway) for piece in pieces]
    assert given == [(b"", False), (b"data: 123456", True), (b"", True), (b"789" + end, False)]
    assert (cutter.rest(), cutter.rest()) == (b"data", b"")


@pytest.mark.parametrize(
    ("expected", "text"),
    [(None, ": waiting: place 3 of 7"), (11.2, ": waiting: place 3 of 7, about 12 s"), (0.0, ", about 1 s")],
)
def test_a_client_that_waits_is_told_its_place_in_a_comment(expected: float | None, text: str) -> None:
    comment = waiting(3, 7, expected)
    assert comment.decode().endswith(text + "\n\n")
    assert EventCutter().feed(comment + b"data: 1\n\n") == comment + b"data: 1\n\n"


def test_a_client_that_waits_no_longer_is_told_for_how_long_it_was_held() -> None:
    assert held(1.75) == b": hold;dur=1750.0\n\n"
