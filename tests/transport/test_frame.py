"""The frame decoder: the same bytes in any split give the same frames, and a lie costs nothing."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sllm_actors.transport.errors import RemoteProtocolError
from sllm_actors.transport.frame import HEADER_SIZE, LARGE, LIMIT, Frame, FrameDecoder, encode

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=200)), max_size=8)


def decode(data: bytes, cuts: list[int], limit: int = LIMIT) -> tuple[list[Frame], str | None, FrameDecoder]:
    """Feed the data in the pieces that the cuts make."""
    decoder = FrameDecoder(limit)
    out: list[Frame] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        out += decoder.receive(data[start:end])
    return out, str(decoder.failure) if decoder.failure else None, decoder


@given(frames, st.lists(st.integers(0, 5000)))
def test_what_is_encoded_comes_out_in_any_split(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(encode(kind, body) for kind, body in sent)
    got, failure, decoder = decode(data, cuts)
    assert (got, failure, decoder.buffered) == (sent, None, 0)


@given(
    st.lists(st.integers(0, LIMIT), min_size=1, max_size=4), st.lists(st.integers(0, 4 * LIMIT), max_size=6)
)
def test_large_frames_come_out_in_any_split(sizes: list[int], cuts: list[int]) -> None:
    sent = [(size % 251, bytes([size % 256]) * size) for size in sizes]
    data = b"".join(encode(kind, body) for kind, body in sent)
    got, failure, decoder = decode(data, cuts)
    assert (got, failure, decoder.buffered) == (sent, None, 0)


def test_a_large_body_is_not_copied_and_a_small_one_is() -> None:
    data = bytearray(encode(1, bytes(LARGE)) + encode(2, bytes(LARGE + 1)))
    (_, small), (_, large) = FrameDecoder().receive(memoryview(data))
    data[:] = b"x" * len(data)
    assert small == bytes(LARGE)
    assert large == b"x" * (LARGE + 1)


@given(st.binary(max_size=400), st.lists(st.integers(0, 500)))
@example(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", [3])
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), [])
@example(b"\x00\x00\x00\x00\x01\xff\xff\xff\xff\x00", [])
def test_any_bytes_whole_or_one_by_one_give_the_same(data: bytes, cuts: list[int]) -> None:
    whole = decode(data, [])[:2]
    assert decode(data, list(range(len(data))))[:2] == whole
    assert decode(data, cuts)[:2] == whole


@given(st.integers(LIMIT + 1, 2**32 - 1), st.integers(0, 255))
def test_a_lying_length_is_an_error_and_not_an_allocation(length: int, kind: int) -> None:
    decoder = FrameDecoder()
    assert decoder.receive(length.to_bytes(4, "big") + bytes([kind])) == []
    assert isinstance(decoder.failure, RemoteProtocolError)
    assert decoder.buffered == 0


def test_after_an_error_the_decoder_stays_failed_but_keeps_what_came_before() -> None:
    decoder = FrameDecoder(limit=10)
    assert decoder.receive(encode(1, b"ok") + b"\x00\x00\x00\x0b\x01" + encode(2, b"no")) == [(1, b"ok")]
    assert decoder.failure is not None
    assert decoder.receive(encode(3, b"no")) == []


def test_no_more_than_one_frame_is_ever_kept() -> None:
    decoder = FrameDecoder()
    data = encode(1, bytes(LIMIT)) * 3
    rng = random.Random(0)
    at = 0
    while at < len(data):
        step = rng.randrange(1, 9000)
        decoder.receive(data[at : at + step])
        at += step
        assert decoder.buffered <= LIMIT + HEADER_SIZE


def test_a_frame_over_the_limit_cannot_be_encoded() -> None:
    assert len(encode(1, bytes(LIMIT))) == LIMIT + HEADER_SIZE
    with pytest.raises(ValueError, match="longer than"):
        encode(1, bytes(LIMIT + 1))


def test_golden_bytes_of_a_frame() -> None:
    assert encode(1, b"abc") == bytes.fromhex("00000003 01 616263")
